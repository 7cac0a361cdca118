--[[ room_list: reads the given rooms that are in Redis, if `user` is a member of them or is staff (`staff` 1).
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
