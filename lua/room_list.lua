--[[ room_list: reads those of the given rooms of which `user` is a member.
KEYS    meta
ARGV    epoch  user  rooms…
OK      seq  version  room…
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:room:*  (same slot, names known only inside)
]]
--- @include "lib/room"
--- @include "lib/room_view"
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, user = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local reply = {'OK', '0', zone.seq, 0}
for i = 3, #ARGV do
  local room = Room.load(zone.tag .. 'room:' .. ARGV[i])
  if room and room.members[user] then reply[#reply + 1] = RoomView.json(room, user) end
end
return reply
