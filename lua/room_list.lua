--[[ room_list: reads those of the given rooms that are in Redis and of which `user` is a member, or which
staff (`staff` 1) may read.
KEYS    meta
ARGV    epoch  user  staff  rooms…
OK      seq  version  room…
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:room:*  (same slot, names known only inside)
]]
--- @include "lib/room"
--- @include "lib/room_view"
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, user, staff = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local reply = {'OK', '0', zone.seq, 0}
for i = 4, #ARGV do
  local room = Room.load(zone.tag .. 'room:' .. ARGV[i])
  if room and (room.members[user] or staff == '1') then reply[#reply + 1] = RoomView.json(room, user) end
end
return reply
