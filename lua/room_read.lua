--[[ room_read: reads a room for a member, or for staff (`staff` 1), who may read every room.
KEYS    meta  room
ARGV    epoch  user  staff
OK      seq  version  room  member
ERR     STALE_EPOCH  NOT_FOUND  NOT_MEMBER
FLAGS   allow-oom
TOUCHES {z}:room:*:messages  {z}:room:*:read  (same slot, names known only inside)
]]
--- @include "lib/room"
--- @include "lib/room_view"
--- @include "lib/zone"
local meta, room_key = unpack(KEYS)
local epoch, user, staff = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local room = Room.load(room_key)
if not room then return {'NOT_FOUND', '0'} end
if not room.members[user] and staff ~= '1' then return {'NOT_MEMBER', '0'} end
return {'OK', '0', zone.seq, 0, RoomView.json(room, user), room.members[user] and '1' or ''}
