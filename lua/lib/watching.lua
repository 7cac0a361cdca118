-- What the watchdog remembers between two looks, in the job's `watch`: where the holder stood still since when, how near
-- he has been, what is suspected since when and how often it was seen, and when it was told.
local function watch_load(text, since)
  local lat, lon, at, near, why, looks, from, told =
    string.match(text or '', '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {lat = lat, lon = lon, at = tonumber(at) or since, near = tonumber(near) or math.huge, why = why or '-',
    looks = tonumber(looks) or 0, since = tonumber(from) or since, told = tonumber(told) or 0}
end

local function watch_save(j, w)
  redis.call('HSET', j.key, 'watch', string.format('%s %s %.0f %s %s %d %.0f %.0f', w.lat or '-', w.lon or '-', w.at,
    w.near == math.huge and '-' or string.format('%.0f', w.near), w.why, w.looks, w.since, w.told))
end

-- What is wrong now, and since when; each part is off at 0.
local function watch_why(z, w, t, lat, lon, still_ms, still_m, away_m, dark_ms)
  if dark_ms > 0 and z.now - math.max(t.fix_at, w.at) > dark_ms then
    w.since = math.max(t.fix_at, w.at)
    return 'dark'
  end
  if t.lat == '' then return nil end
  if not tonumber(w.lat) or metres(w.lat, w.lon, t.lat, t.lon) > still_m then w.lat, w.lon, w.at = t.lat, t.lon, t.fix_at end
  local far = metres(lat, lon, t.lat, t.lon)
  w.near = math.min(w.near, far)
  if away_m > 0 and far > w.near + away_m then
    w.since = t.fix_at
    return 'away'
  end
  -- Who has arrived stands still with reason.
  if still_ms > 0 and far > still_m and z.now - w.at > still_ms then
    w.since = w.at
    return 'still'
  end
  return nil
end
