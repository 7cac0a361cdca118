-- The chat room of a job. The hash `room:<id>` has the fields `id job bp state n dropped opened closed ended technician
-- mediator invited count to`, and `m:<user>` for each member: the JSON `{"id","name","role","since","from_n","joined"}`.
-- `n` is the number of the last message; a member reads the messages above `from_n`. `technician` is the member who
-- does the job. `ended` is when the job was done. `to` are the channels of the room's events.
--- @include "lib/iso"
--- @include "lib/large_room"
local Room = {}

-- How long the keys of a closed and archived room stay in Redis: as long as those of its job (`Job.ARCHIVED_MS`).
Room.ARCHIVED_MS = 600000
-- If the closing of a room is not archived yet, the room is examined again after this time.
Room.RETRY_MS = 10000

function Room.id_of(job_id) return 'room_' .. string.sub(job_id, 5) end

function Room.load(key)
  local row, room = redis.call('HGETALL', key), {key = key, members = {}, unsaved = {}}
  for i = 1, #row, 2 do
    local user = string.match(row[i], '^m:(.+)$')
    if user then room.members[user] = row[i + 1] else room[row[i]] = row[i + 1] end
  end
  room.n, room.count = tonumber(room.n), tonumber(room.count)
  return room.id and room or nil
end

-- Writes all fields except `dropped`, and the members who are not in the hash yet (`unsaved`).
function Room.save(room)
  local users, members = {}, {}
  for user in pairs(room.members) do users[#users + 1] = 'user:' .. user end
  table.sort(users)
  room.count = #users
  room.to = LargeRoom.channels(room, users)
  for user, text in pairs(room.unsaved) do members[#members + 1], members[#members + 2] = 'm:' .. user, text end
  redis.call('HSET', room.key, 'id', room.id, 'job', room.job, 'bp', room.bp, 'state', room.state, 'opened',
    room.opened, 'closed', room.closed or '', 'technician', room.technician, 'mediator', room.mediator, 'invited',
    room.invited, 'count', room.count, 'to', room.to, 'n', room.n, unpack(members))
  room.unsaved = {}
end

-- Makes `user` (`id`, `role`, and `name` as JSON) a member who reads the messages above `from_n`. The caller saves the
-- room afterwards.
function Room.add_member(zone, room, user, from_n)
  local text = '{"id":"' .. user.id .. '","name":' .. user.name .. ',"role":"' .. user.role .. '","since":' ..
    Iso.format(zone.now) .. ',"from_n":' .. from_n .. ',"joined":false}'
  room.members[user.id], room.unsaved[user.id] = text, text
  if LargeRoom.is_large(room) then LargeRoom.notify(room, {'user:' .. user.id}, true) end
  redis.call('ZADD', zone.tag .. 'user:' .. user.id .. ':rooms', from_n, room.id)
end

-- Ends a membership and returns the member's text. The caller saves the room afterwards.
function Room.remove_member(zone, room, user)
  local text = room.members[user]
  room.members[user], room.unsaved[user] = nil, nil
  redis.call('HDEL', room.key, 'm:' .. user)
  if LargeRoom.is_large(room) then LargeRoom.notify(room, {'user:' .. user}, false) end
  redis.call('HDEL', room.key .. ':read', user, 'told:' .. user, 'noticed:' .. user)
  redis.call('ZREM', zone.tag .. 'user:' .. user .. ':rooms', room.id)
  return text
end

-- Returns `{"id","name","role"}` of a member's text. Quotes inside a name are escaped, so that the name cannot contain
-- the text that follows it.
function Room.user_json(text) return string.sub(text, 1, string.find(text, ',"since":"', 1, true) - 1) .. '}' end

-- Returns the members as JSON, in the order of their memberships. If there are more than MAX_ADDRESSED, these are only
-- the two sides of the job, the mediator of its open dispute, and `about` (engine/domain/archived_rooms.py: the same).
function Room.members_json(room, about)
  local order = {}
  for user, text in pairs(room.members) do
    local _, before_role = string.find(text, '","role":"', 1, true)
    local role, since = string.match(text, '^([^"]*)","since":"([^"]*)"', before_role + 1)
    if room.count <= LargeRoom.MAX_ADDRESSED or role == 'customer' or role == 'technician' or user == room.mediator
      or user == about then
      local shown = string.sub(text, 1, string.find(text, ',"joined":', -16, true) - 1) .. '}'
      order[#order + 1] = {since .. role .. user, shown}
    end
  end
  table.sort(order, function(one, other) return one[1] < other[1] end)
  for i, entry in ipairs(order) do order[i] = entry[2] end
  return '[' .. table.concat(order, ',') .. ']'
end

-- Returns the members of a room's JSON without the braces. `about` is the reader, or the user whom the event is about.
function Room.json_members(room, about)
  return '"id":"' .. room.id .. '","zone":"' .. string.match(room.key, '^{(.-)}') .. '","job":"' .. room.job ..
    '","state":"' .. room.state .. '","n":' .. room.n .. ',"members":' .. Room.members_json(room, about) ..
    (room.count > LargeRoom.MAX_ADDRESSED and ',"members_n":' .. room.count or '') .. ',"mediator_invited":' ..
    (room.invited == '1' and 'true' or 'false') .. ',"opened_at":' .. Iso.format(tonumber(room.opened)) ..
    ((room.closed or '') ~= '' and ',"closed_at":' .. Iso.format(tonumber(room.closed)) or '')
end

-- Returns an event about the room, and about the member whose text is `user`. `to` are recipients other than all members.
function Room.event(room, kind, user, to, more)
  local about = user and string.match(user, '^{"id":"([^"]*)"')
  return {type = kind, to = to or room.to, bp = room.bp, follow = LargeRoom.take_notices(room),
    data = '{"room":{' .. Room.json_members(room, about) .. '}' .. (user and ',"user":' .. Room.user_json(user) or '') ..
      (more or '') .. '}'}
end
