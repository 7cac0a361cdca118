-- The path of a technician on a job: the positions that were shared with the customer and are not in SQL yet. The list
-- `path:<job>:<technician>` has one entry a fix, `lat lon at`. The zset `paths` has each of these lists with the time
-- (ms) at which its points are to be moved to SQL, where they are thinned (engine/workers/position_archive.py). A list
-- may be lost: a position is in no event.
local Path = {}

-- A list is moved MOVE_MS after its first point, or when it has FULL points. If it cannot be moved, it has at most MAX
-- points, the latest, and expires TTL_MS after the first. A position that is less accurate than ACCURACY_M is no part
-- of a path.
Path.FULL, Path.MAX, Path.MOVE_MS, Path.TTL_MS, Path.ACCURACY_M = 256, 2048, 600000, 86400000, 100

function Path.add(zone, job_id, tech)
  if (tonumber(tech.acc) or 0) > Path.ACCURACY_M then return end
  local entry = job_id .. ':' .. tech.id
  local key = zone.tag .. 'path:' .. entry
  local count = redis.call('RPUSH', key, tech.lat .. ' ' .. tech.lon .. ' ' .. tech.at_text)
  if count == 1 then
    redis.call('PEXPIRE', key, Path.TTL_MS)
    redis.call('ZADD', zone.tag .. 'paths', zone.now + Path.MOVE_MS, entry)
  elseif count % Path.FULL == 0 then
    redis.call('ZADD', zone.tag .. 'paths', zone.now, entry)
    redis.call('LTRIM', key, -Path.MAX, -1)
  end
end

-- Removes the points until the time `until_ms` (ms): SQL has them.
function Path.remove(zone, paths, key, entry, until_ms)
  local count, points = 0, redis.call('LRANGE', key, 0, -1)
  while count < #points and tonumber(string.match(points[count + 1], '%S+$')) <= until_ms do count = count + 1 end
  redis.call('LTRIM', key, count, -1)
  if count == #points then return redis.call('ZREM', paths, entry) end
  redis.call('PEXPIRE', key, Path.TTL_MS)
  redis.call('ZADD', paths, zone.now + Path.MOVE_MS, entry)
end
