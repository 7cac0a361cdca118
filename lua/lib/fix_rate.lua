-- How often a technician's app has to send a fix: `every_s distance_m`, a fix after this many seconds or metres,
-- whichever comes first. `rate` in the record is the rate that was last sent to the app (engine/rules/fixes.py reads
-- it). A change is published, and the gateways send it to the technician's sessions.
--- @include "lib/geo"
local FixRate = {}
FixRate.STILL, FixRate.IDLE, FixRate.ON_JOB, FixRate.NEAR = '60 100', '30 250', '10 100', '3 50'

-- A technician is near a job's place when they are within NEAR_M, until they are LEAVE_M away. They stand still when
-- they have stayed within REST_M (plus the accuracy) for REST_MS, until they are WAKE_M away. With two different
-- distances the rate does not alternate.
FixRate.NEAR_M, FixRate.LEAVE_M = 500, 600
FixRate.REST_M, FixRate.WAKE_M, FixRate.REST_MS = 50, 100, 300000

-- Returns two values: the place and the beginning of the technician's rest, as the field `rest` of the record (`lat lon
-- since`, ms); and whether they stand still. `distance_m` returns their distance (m) from a place.
function FixRate.rest(text, tech, accuracy_m, distance_m)
  local lat, lon, since = string.match(text or '', '^([^ ]+) ([^ ]+) ([^ ]+)$')
  if lat then
    local is_still = tech.fix_at - since >= FixRate.REST_MS
    local far = distance_m(lat, lon) - (accuracy_m or 0)
    if far < (is_still and FixRate.WAKE_M or FixRate.REST_M) then return text, is_still end
  end
  return tech.lat .. ' ' .. tech.lon .. ' ' .. tech.at_text, false
end

-- Returns the rate for a technician with these jobs (lib/position_feed). A technician who stands still near a job's
-- place has arrived and needs no fast rate.
function FixRate.choose(tech, is_still, jobs)
  local on_job = tech.load > 0
  local near_m = tech.rate == FixRate.NEAR and FixRate.LEAVE_M or FixRate.NEAR_M
  for _, job in ipairs(jobs) do
    if job.is_tracked then
      on_job = true
      local far = job.far or Geo.distance_m(tech.lat, tech.lon, job.lat, job.lon)
      if not is_still and far <= near_m then return FixRate.NEAR end
    end
  end
  return on_job and FixRate.ON_JOB or is_still and FixRate.STILL or FixRate.IDLE
end

-- Publishes the rate if it differs from the last one. Returns `rate` and its value, which the caller writes to the
-- record, or nothing if the rate does not change.
function FixRate.publish(zone, tech, rate)
  local was = tech.rate
  if was == rate then return end
  tech.rate = rate
  if was or rate ~= FixRate.IDLE then -- IDLE is the rate of an app that has received none
    local every_s, distance_m = string.match(rate, '^(%d+) (%d+)$')
    redis.call('SPUBLISH', zone.tag .. 'live', '{"kind":"rate","technician":"' .. tech.id .. '","every_s":' .. every_s ..
      ',"distance_m":' .. distance_m .. '}')
  end
  return 'rate', rate
end

-- Returns the rate that was last sent to the technician's app; `tech` may be nil.
function FixRate.last_sent(tech) return tech and (tech.rate or tech.load > 0 and FixRate.ON_JOB) or FixRate.IDLE end

-- Publishes the rate that follows only from the load, when a job begins or ends. The next fix sets a more exact rate.
-- Returns what FixRate.publish returns.
function FixRate.follow_load(zone, tech)
  local is_fast = tech.rate == FixRate.ON_JOB or tech.rate == FixRate.NEAR
  if (tech.load > 0) == is_fast then return end
  return FixRate.publish(zone, tech, tech.load > 0 and FixRate.ON_JOB or FixRate.IDLE)
end
