-- The messages of a room in Redis: the stream `room:<id>:messages` (id `<n>-0`, fields `seq`, `sender`, `data`), and
-- the hash `room:<id>:sent` (`<user>:<client_id>` → `n seq digest`), by which a repeated message is recognized. SQL has
-- the older messages: only archived messages are removed, at most MAX_REMOVED entries a call.
local Messages = {}

Messages.KEPT, Messages.KEPT_SENT, Messages.MAX_REMOVED = 200, 10000, 16
-- The shortest time between two events about the read mark of one member.
Messages.MARK_INTERVAL_MS = 1000

-- Removes old messages. The last KEPT and all that are not archived stay.
function Messages.trim_stream(key, archived)
  local over = redis.call('XLEN', key) - Messages.KEPT
  if over <= 0 then return end
  -- While the archive is behind, only one message is read.
  local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)
  if tonumber(first[1][2][2]) > archived then return end
  local ids = {}
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+', 'COUNT', math.min(over, Messages.MAX_REMOVED))) do
    if tonumber(entry[2][2]) > archived then break end
    ids[#ids + 1] = entry[1]
  end
  redis.call('XDEL', key, unpack(ids))
end

-- Removes old entries of `sent`: a scan that each call continues. The last KEPT_SENT messages and all that are not
-- archived stay. `dropped` of the room is the highest seq that was removed.
function Messages.trim_sent(room_key, sent, n, archived)
  if redis.call('HLEN', sent) <= Messages.KEPT_SENT then return end
  local row = redis.call('HMGET', room_key, 'scan', 'dropped')
  local dropped, names = tonumber(row[2]) or 0, {}
  local scan = redis.call('HSCAN', sent, row[1] or '0', 'COUNT', Messages.MAX_REMOVED)
  for i = 1, #scan[2], 2 do
    local number, seq = string.match(scan[2][i + 1], '^(%d+) (%d+)')
    seq = tonumber(seq)
    if tonumber(number) <= n - Messages.KEPT_SENT and seq <= archived and #names < Messages.MAX_REMOVED then
      names[#names + 1], dropped = scan[2][i], math.max(dropped, seq)
    end
  end
  redis.call('HSET', room_key, 'scan', scan[1])
  if #names == 0 then return end
  redis.call('HDEL', sent, unpack(names))
  redis.call('HSET', room_key, 'dropped', dropped)
end

-- Removes old messages and old entries of `sent` after message `n`. The stream and the hash have at most `n` entries
-- each, so that a room with at most KEPT messages needs no check.
function Messages.trim(meta, room_key, messages, sent, n)
  if n <= Messages.KEPT then return end
  local archived = tonumber(redis.call('HGET', meta, 'archived')) or 0
  Messages.trim_stream(messages, archived)
  if n > Messages.KEPT_SENT then Messages.trim_sent(room_key, sent, n, archived) end
end
