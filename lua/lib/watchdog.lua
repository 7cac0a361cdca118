-- The watchdog's state between two checks, in the job's `watch`: `lat lon at near why looks since reported_at`. The
-- holder has not moved from the position since `at`; `near` is their smallest distance from the job (m); `why` is the
-- suspected problem, which exists since `since` and was found by `looks` consecutive checks; `reported_at` is 0 before
-- the problem is reported. Times are in ms, and `-` means none.
--- @include "lib/geo"
--- @include "lib/job_fields"
local Watchdog = {}

function Watchdog.load(text, since)
  local lat, lon, at, near, why, looks, from, reported_at =
    string.match(text or '', '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {lat = lat, lon = lon, at = tonumber(at) or since, near = tonumber(near) or math.huge, why = why or '-',
    looks = tonumber(looks) or 0, since = tonumber(from) or since, reported_at = tonumber(reported_at) or 0, known_report = tonumber(reported_at) or 0}
end

-- Only a change of `reported_at` is noted for the job's state, because the next checks find the other values again.
function Watchdog.save(job, watch)
  local near = watch.near == math.huge and '-' or string.format('%.0f', watch.near)
  local text = string.format('%s %s %.0f %s %s %d %.0f %.0f', watch.lat or '-', watch.lon or '-', watch.at, near,
    watch.why, watch.looks, watch.since, watch.reported_at)
  if watch.reported_at ~= watch.known_report then JobFields.set(job.key, 'watch', text)
  else redis.call('HSET', job.key, 'watch', text) end
end

-- Returns what is wrong now, or nil, and sets watch.since. A check is off if its limit is 0.
function Watchdog.reason(zone, watch, tech, lat, lon, still_ms, still_m, away_m, dark_ms)
  if dark_ms > 0 and zone.now - math.max(tech.fix_at, watch.at) > dark_ms then
    watch.since = math.max(tech.fix_at, watch.at)
    return 'dark'
  end
  if tech.lat == '' then return nil end
  if not tonumber(watch.lat) or Geo.distance_m(watch.lat, watch.lon, tech.lat, tech.lon) > still_m then
    watch.lat, watch.lon, watch.at = tech.lat, tech.lon, tech.fix_at
  end
  local far = Geo.distance_m(lat, lon, tech.lat, tech.lon)
  watch.near = math.min(watch.near, far)
  if away_m > 0 and far > watch.near + away_m then
    watch.since = tech.fix_at
    return 'away'
  end
  -- A technician who is at the job may stand still.
  if still_ms > 0 and far > still_m and zone.now - watch.at > still_ms then
    watch.since = watch.at
    return 'still'
  end
  return nil
end
