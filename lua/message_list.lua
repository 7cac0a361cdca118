--[[ message_list: reads messages of a room in Redis with numbers above `above` and below `below`, for a member or for
staff (`staff` 1): the newest first, or with `oldest` 1 the oldest first. The reply has the number from which the reader
may read, and the lowest number in Redis: messages between the two are only in SQL.
KEYS    meta  room  messages
ARGV    epoch  user  staff  above  below  limit  oldest
OK      seq  version  from_n  lowest  member  messages…
ERR     STALE_EPOCH  NOT_FOUND  NOT_MEMBER
FLAGS   allow-oom
]]
--- @include "lib/room_view"
--- @include "lib/zone"
local meta, room_key, messages = unpack(KEYS)
local epoch, user, staff, above, below, limit, oldest = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local n, member = unpack(redis.call('HMGET', room_key, 'n', 'm:' .. user))
if not n then return {'NOT_FOUND', '0'} end
if not member and staff ~= '1' then return {'NOT_MEMBER', '0'} end
local from_n = RoomView.from_n(member or nil)
local first = redis.call('XRANGE', messages, '-', '+', 'COUNT', 1)[1]
local lowest = first and string.match(first[1], '^%d+') or string.format('%.0f', n + 1)
local low = string.format('%.0f', math.max(from_n, tonumber(above)) + 1)
local high = below == '' and '+' or string.format('%.0f', below - 1)
local reply = {'OK', '0', zone.seq, 0, from_n, lowest, member and '1' or ''}
if high ~= '+' and tonumber(high) < tonumber(low) then return reply end
local found = oldest == '1' and redis.call('XRANGE', messages, low, high, 'COUNT', limit)
  or redis.call('XREVRANGE', messages, high, low, 'COUNT', limit)
for _, entry in ipairs(found) do reply[#reply + 1] = entry[2][6] end
return reply
