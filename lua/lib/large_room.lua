-- Rooms with so many members that their events are addressed to one channel, `room:<id>`, which every member receives.
-- The internal event `session.room` says to gateways which users receive the channel. Gateways find the large rooms of
-- a user who connects in the set `large_rooms`. A room that is small again stays in the set until it is forgotten,
-- since a replay may have events that were addressed to its channel.
local LargeRoom = {}

-- How many members are addressed one by one, and listed in a room's JSON.
LargeRoom.MAX_ADDRESSED = 64

function LargeRoom.is_large(room) return room.to == 'room:' .. room.id end

-- Notes that gateways give the users of these channels the room's channel, or take it from them. The next event of the
-- room carries the notice (`follow`).
function LargeRoom.notify(room, users, is_member)
  room.notices = room.notices or {}
  table.insert(room.notices, {type = 'session.room', to = table.concat(users, ' '), data = '{"room":"' .. room.id ..
    '","is_member":' .. (is_member and 'true' or 'false') .. '}'})
end

function LargeRoom.take_notices(room)
  local notices = room.notices
  room.notices = nil
  return notices
end

-- Returns the channels of the room's events, and notes the change if the room becomes large, or small again. `users` are
-- the channels of all members.
function LargeRoom.channels(room, users)
  local is_large = room.count > LargeRoom.MAX_ADDRESSED
  if is_large ~= LargeRoom.is_large(room) then
    if is_large then redis.call('SADD', string.match(room.key, '^{.-}:') .. 'large_rooms', room.id) end
    LargeRoom.notify(room, users, is_large)
  end
  return is_large and 'room:' .. room.id or table.concat(users, ' ')
end
