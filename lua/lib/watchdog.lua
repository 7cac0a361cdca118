--- @include "lib/geo"

-- What the watchdog remembers between two looks, in the job's `watch`: where the holder stood still since when, how
-- near they have been, what is suspected since when and how often it was seen, and when it was reported.
local Watchdog = {}

function Watchdog.load(text, since)
  local lat, lon, at, near, why, looks, from, reported_at =
    string.match(text or '', '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {lat = lat, lon = lon, at = tonumber(at) or since, near = tonumber(near) or math.huge, why = why or '-',
    looks = tonumber(looks) or 0, since = tonumber(from) or since, reported_at = tonumber(reported_at) or 0}
end

function Watchdog.save(job, watch)
  redis.call('HSET', job.key, 'watch', string.format('%s %s %.0f %s %s %d %.0f %.0f', watch.lat or '-', watch.lon or '-',
    watch.at, watch.near == math.huge and '-' or string.format('%.0f', watch.near), watch.why, watch.looks, watch.since,
      watch.reported_at))
end

-- What is wrong now, and since when; each check is off at 0.
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
  -- A technician who has arrived may stand still.
  if still_ms > 0 and far > still_m and zone.now - watch.at > still_ms then
    watch.since = watch.at
    return 'still'
  end
  return nil
end
