--[[ room_join: returns a room to a member, with its last messages, and informs the members when this member joins for
the first time.
KEYS    meta  room  messages  log
ARGV    epoch  user  limit  actor  trace
OK      seq  version  room  messages…
ERR     STALE_EPOCH  NOT_FOUND  NOT_MEMBER
EMITS   room.joined
]]
--- @include "lib/event_log"
--- @include "lib/room"
--- @include "lib/room_view"
--- @include "lib/zone"
local meta, room_key, messages, log = unpack(KEYS)
local epoch, user, limit, actor, trace = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local room = Room.load(room_key)
if not room then return {'NOT_FOUND', '0'} end
local text = room.members[user]
if not text then return {'NOT_MEMBER', '0'} end
local seq = zone.seq
if string.find(text, '"joined":false}', 1, true) and room.state == 'open' then
  room.members[user] = string.gsub(text, '"joined":false}$', '"joined":true}')
  redis.call('HSET', room_key, 'm:' .. user, room.members[user])
  local event = Room.event(room, 'room.joined', text)
  event.actor, event.trace = actor, trace
  seq = EventLog.append(zone, log, event)
  EventLog.save_seq(zone)
end
local reply = {'OK', '0', seq, 0, RoomView.json(room, user)}
local lowest = string.format('%.0f', RoomView.from_n(text) + 1)
for _, entry in ipairs(redis.call('XREVRANGE', messages, '+', lowest, 'COUNT', limit)) do
  reply[#reply + 1] = entry[2][6]
end
return reply
