-- Takes the fixes of technicians: checks them, stores the position, and publishes it.
--- @include "lib/arrival"
--- @include "lib/device"
--- @include "lib/fix_rate"
--- @include "lib/geo"
--- @include "lib/path"
--- @include "lib/position_feed"
--- @include "lib/supply"
local Fix = {}

-- Takes one fix of a technician and returns its outcome. Events that it causes are added to `events`, for the end of the
-- script; `pace` is for their ETA (lib/arrival). `at` is the device's time in ms; '' = now. `kind` is `live` for a fix
-- that was sent when it was measured, `late` for one that waited on the device, and `more` for a late one that is not the
-- last of those sent together: it is neither published nor indexed. `accuracy`, `heading` and `speed` are '' if unknown.
-- A fix that is older, much less accurate or an impossible jump away does not move the technician. The indexes are
-- updated after a time or a distance (lib/supply).
function Fix.store(zone, seen, events, pace, id, lat, lon, at, kind, accuracy, heading, speed)
  local key = zone.tag .. 'tech:' .. id
  local row = redis.call('HMGET', key, 'online', 'load', 'services', 'indexed', 'lat', 'lon', 'fix_at', 'acc', 'clock',
    'jump', 'ilat', 'ilon', 'iat', 'mlat', 'mlon', 'ahead', 'rating', 'capacity', 'rate', 'rest')
  if not row[2] then return 'NOT_FOUND' end
  local online, was_at, acc, clock = row[1] == '1', tonumber(row[7]) or 0, row[8] or '', row[9] or '- - -'
  local offset, changed = 0, nil
  -- A fix without its own time has the time of its arrival, and is always newer than the last fix: TIME may have
  -- stepped back a little since.
  if at == '' then at = math.max(zone.now, was_at + 1) else
    at = tonumber(at)
    if kind == 'live' then offset, changed = Device.read_clock(clock, zone.now, at)
    else offset = Device.known_offset(clock) end
    at = math.min(zone.now, at - offset)
  end
  if changed then
    clock = changed
    redis.call('HSET', key, 'clock', clock)
  end
  if online and kind ~= 'more' then redis.call('ZADD', seen, zone.now, id) end
  local outcome = (online and '1 ' or '0 ') .. clock
  if at <= was_at then return outcome end
  local known = row[5] and row[5] ~= ''
  if known and Device.is_vague(accuracy, acc, zone.now - was_at) then return outcome end
  if known and acc ~= '' and Device.is_jump(Geo.distance_m(row[5], row[6], lat, lon), at - was_at, accuracy, acc) then
    -- Two consecutive fixes that are closer to each other than to the known position replace the known position.
    local jlat, jlon = string.match(row[10] or '', '^(%S+) (%S+)$')
    if not jlat or Geo.distance_m(jlat, jlon, lat, lon) >= Geo.distance_m(row[5], row[6], lat, lon) then
      redis.call('HSET', key, 'jump', lat .. ' ' .. lon)
      return outcome
    end
    known = 'jumped'
  end
  local tech = {key = key, id = id, online = online and '1' or '', load = tonumber(row[2]) or 0, services = row[3],
    indexed = row[4] or '', lat = lat, lon = lon, fix_at = at, acc = accuracy ~= '' and accuracy or '-',
    rating = row[17], capacity = row[18], ahead = tonumber(row[16]) or 0, rate = row[19]}
  local rest, is_still = FixRate.rest(row[20], tech, accuracy)
  Supply.write(zone, tech, 'lat', lat, 'lon', lon, 'fix_at', at, 'heading', heading, 'acc', tech.acc, 'rest', rest)
  if row[10] and row[10] ~= '' then redis.call('HSET', key, 'jump', '') end
  if not online then return outcome end
  local jobs = PositionFeed.jobs_of(zone, tech)
  for _, job in ipairs(jobs) do
    if job.is_tracked then
      local before = {lat = row[5], lon = row[6], fix_at = was_at, acc = acc}
      if at >= job.shared_at then Path.add(zone, job.id, tech) end
      Arrival.follow(zone, job, tech, speed, before, pace, events)
    end
  end
  if kind == 'more' then return outcome end
  FixRate.tell(zone, tech, FixRate.choose(tech, is_still, jobs))
  PositionFeed.publish(zone, tech, jobs, heading, known == 'jumped')
  if tech.indexed ~= '' then
    local is_old = zone.now - (tonumber(row[13]) or 0) >= Supply.PLACE_MS
    if is_old or Geo.distance_m(row[11], row[12], lat, lon) >= Supply.PLACE_M then Supply.place(zone, tech) end
    if not row[14] or Geo.distance_m(row[14], row[15], lat, lon) >= Supply.MATCH_M then
      Supply.schedule_match(zone, tech)
    end
  end
  return outcome
end
