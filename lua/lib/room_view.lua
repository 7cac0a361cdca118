-- A room and its messages as one reader may see them.
--- @include "lib/large_room"
--- @include "lib/room"
local RoomView = {}

-- Returns the number of the last message that a member may not read. `text` is the member's text; staff who are no
-- member read all.
function RoomView.from_n(text) return tonumber(text and string.match(text, '"from_n":(%d+),"joined":%a+}$')) or 0 end

-- Returns the read marks of the listed members as JSON, and the mark of `user`.
function RoomView.reads_json(room, user)
  local parts, row = {}, redis.call('HGETALL', room.key .. ':read')
  local mark = 0
  for i = 1, #row, 2 do
    if row[i] == user then mark = tonumber(row[i + 1]) end
    if room.members[row[i]] and (room.count <= LargeRoom.MAX_ADDRESSED or row[i] == user) then
      parts[#parts + 1] = '{"user":"' .. row[i] .. '","n":' .. row[i + 1] .. '}'
    end
  end
  table.sort(parts)
  return '[' .. table.concat(parts, ',') .. ']', mark
end

-- Returns a room's JSON for `user`, with the last message, the number of unread messages, and the read marks.
function RoomView.json(room, user)
  local text = room.members[user]
  local from_n = RoomView.from_n(text)
  local last = redis.call('XREVRANGE', room.key .. ':messages', '+', string.format('%.0f', from_n + 1), 'COUNT', 1)[1]
  local reads, mark = RoomView.reads_json(room, user)
  local unread = text and math.max(0, room.n - math.max(mark, from_n)) or 0
  return '{' .. Room.json_members(room, user) .. ',"last":' .. (last and last[2][6] or 'null') .. ',"unread":' ..
    unread .. ',"reads":' .. reads .. '}'
end
