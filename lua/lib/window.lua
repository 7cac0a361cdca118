-- Matching windows. Jobs whose blueprint declares `match` wait in the geo index `open:<service>`, and the scheduled
-- task `window:<service>` assigns them together (engine/domain/matching.py). `window` in a job's record is the rule of
-- its blueprint, `length_ms/reach_m/grow_m_s/k/radius_m/weights` (engine/blueprint/wave_plan.py). `weights` are those
-- of lib/ranking, joined by commas.
--- @include "lib/geo"
--- @include "lib/memo"
local Window = {}

-- The number of windows without a technician after which a job is reported to ops. The distance (m) by which a
-- technician may be beyond the reach when they get the job, because they may have moved since the window read their
-- position.
Window.REPORTED_AFTER, Window.MOVED_M = 2, 250

Window.parse = Memo.of(function(text)
  local length_ms, reach_m, grow_m_s, k, radius_m, weights =
    string.match(text, '^([^/]+)/([^/]+)/([^/]+)/([^/]+)/([^/]+)/([^/]+)$')
  return {length_ms = tonumber(length_ms), reach_m = tonumber(reach_m), grow_m_s = tonumber(grow_m_s),
    k = tonumber(k), radius_m = tonumber(radius_m), weights = string.gsub(weights, ',', ' ')}
end)

-- Returns the rule of the job's windows; nil if its blueprint has none: then the engine chooses for each job
-- separately.
function Window.rule(job)
  local text = redis.call('HGET', job.key, 'window')
  return text and Window.parse(text) or nil
end

-- Returns the largest distance (m) at which a technician may get the job now. It grows with the time that the job has
-- waited, up to the blueprint's `radius_m`, so that no job waits without end. `job.release` is when the search began
-- (ms).
function Window.reach_m(zone, job, rule)
  local reach = rule.reach_m + rule.grow_m_s * math.max(0, zone.now - job.release) / 1000
  return math.min(reach, rule.radius_m > 0 and rule.radius_m or Geo.WHOLE_EARTH_M)
end

-- Makes a window of the service due in `after_ms`, unless one is due earlier.
function Window.schedule(zone, service, after_ms)
  redis.call('ZADD', zone.tag .. 'due', 'LT', zone.now + after_ms, 'window:' .. service)
end

-- Adds a job to the index of waiting jobs, and makes a window due.
function Window.add(zone, job, lon, lat, rule)
  redis.call('GEOADD', zone.tag .. 'open:' .. job.service, lon, lat, job.id)
  Window.schedule(zone, job.service, rule.length_ms)
end

function Window.remove(zone, job) redis.call('ZREM', zone.tag .. 'open:' .. job.service, job.id) end

-- Call this for a technician who became free, came online or moved. Makes a window of each of their services due if
-- jobs wait.
function Window.wake(zone, services)
  for service in string.gmatch(services, '[^ :]+') do
    local first = redis.call('ZRANGE', zone.tag .. 'open:' .. service, 0, 0)[1]
    local rule = first and Window.rule({key = zone.tag .. 'job:' .. first})
    if rule then Window.schedule(zone, service, rule.length_ms) end
  end
end
