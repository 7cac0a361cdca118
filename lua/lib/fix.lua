-- Takes the fixes of technicians: checks them, stores the position, and publishes it.
--- @include "lib/arrival"
--- @include "lib/device"
--- @include "lib/fix_rate"
--- @include "lib/geo"
--- @include "lib/path"
--- @include "lib/position_feed"
--- @include "lib/summaries"
--- @include "lib/supply"
--- @include "lib/tech"
local Fix = {}

-- What the fixes of one call share. `pace` is for the ETA of their events (lib/arrival), which the script appends at
-- its end. The summaries of all technicians are read at once. What the fixes write to keys of the zone is collected and
-- written at the end, because a command for each fix took half of the time. (The record of a technician is written with
-- the fix.)
function Fix.begin_batch(zone, technicians, pace)
  local batch = {now = string.format('%.0f', zone.now), pace = pace, events = {}, seen = {}, summaries = {},
    moves = Supply.begin_moves()}
  for i, summary in ipairs(Summaries.read(zone, technicians)) do batch.summaries[technicians[i]] = summary end
  return batch
end

function Fix.end_batch(zone, batch, seen)
  if #batch.seen > 0 then redis.call('ZADD', seen, unpack(batch.seen)) end
  Supply.write_moves(zone, batch.moves)
end

-- Takes one fix of a technician and returns its outcome. `sent_at` is the device's time in ms; '' = now. `kind` is `live` for
-- a fix that was sent when it was measured, `late` for one that waited on the device, and `more` for a late one that is
-- not the last of those sent together: it is neither published nor indexed. `accuracy`, `heading` and `speed` are '' if
-- unknown.
-- A fix that is older, much less accurate or an impossible jump away does not move the technician. The indexes are
-- updated after a time or a distance (lib/supply).
function Fix.store(zone, batch, id, lat, lon, sent_at, kind, accuracy, heading, speed)
  local key = zone.tag .. 'tech:' .. id
  local row = redis.call('HMGET', key, 'online', 'load', 'lat', 'lon', 'fix_at', 'acc', 'clock', 'jump', 'place',
    'match', 'ahead', 'rate', 'rest')
  if not row[2] then return 'NOT_FOUND' end
  local online, was_at, acc, clock = row[1] == '1', tonumber(row[5]) or 0, row[6] or '', row[7] or '- - -'
  -- Each text is converted to a number only once, because a conversion takes as long as ten operations.
  local at, accuracy_m, acc_m, offset, changed = tonumber(sent_at), tonumber(accuracy), tonumber(acc), 0, nil
  -- A fix without its own time has the time of its arrival, and is always newer than the last fix: TIME may have
  -- stepped back a little since.
  if not at then at = math.max(zone.now, was_at + 1) else
    if kind == 'live' then offset, changed = Device.read_clock(clock, zone.now, at)
    else offset = Device.known_offset(clock) end
    at = math.min(zone.now, at - offset)
  end
  if changed then redis.call('HSET', key, 'clock', changed) end
  if online and kind ~= 'more' then
    batch.seen[#batch.seen + 1] = batch.now
    batch.seen[#batch.seen + 1] = id
  end
  local outcome = (online and '1 ' or '0 ') .. (changed or clock)
  if at <= was_at then return outcome end
  local tech = {key = key, id = id, online = online and '1' or '', load = tonumber(row[2]) or 0, lat = lat, lon = lon,
    lat_degrees = tonumber(lat), lon_degrees = tonumber(lon), fix_at = at,
    at_text = sent_at ~= '' and offset == 0 and at < zone.now and sent_at or string.format('%.0f', at),
    acc = accuracy ~= '' and accuracy or '-', ahead = tonumber(row[11]) or 0, rate = row[12]}
  local before = {lat = tonumber(row[3]), lon = tonumber(row[4]), fix_at = was_at, acc = acc, place = row[9],
    match = row[10]}
  local known, distance_m = before.lat, Geo.distances_from(tech.lat_degrees, tech.lon_degrees)
  if known and Device.is_vague(accuracy_m, acc_m, zone.now - was_at) then return outcome end
  if known and acc ~= '' and Device.is_jump(distance_m(before.lat, before.lon), at - was_at, accuracy_m, acc_m) then
    -- Two consecutive fixes that are closer to each other than to the known position replace the known position.
    local jlat, jlon = string.match(row[8] or '', '^(%S+) (%S+)$')
    if not jlat or distance_m(jlat, jlon) >= distance_m(before.lat, before.lon) then
      redis.call('HSET', key, 'jump', lat .. ' ' .. lon)
      return outcome
    end
    known = 'jumped'
  end
  local rest, is_still = FixRate.rest(row[13], tech, accuracy_m, distance_m)
  local fields = {'lat', lat, 'lon', lon, 'fix_at', tech.at_text, 'heading', heading}
  if tech.acc ~= acc then fields[#fields + 1], fields[#fields + 2] = 'acc', tech.acc end
  if rest ~= row[13] then fields[#fields + 1], fields[#fields + 2] = 'rest', rest end
  if row[8] and row[8] ~= '' then fields[#fields + 1], fields[#fields + 2] = 'jump', '' end
  Supply.move(zone, batch.moves, tech, batch.summaries[id], fields, before, kind ~= 'more' and distance_m)
  if not online then return outcome end
  -- Only a zone that was rebuilt has somebody online without a position (engine/rebuild/technician_entries.py).
  if not known then
    local record = Tech.load(key)
    Supply.sync(zone, record, true)
  end
  local jobs = PositionFeed.jobs_of(zone, tech)
  for _, job in ipairs(jobs) do
    if job.is_tracked then
      if at >= job.shared_at then Path.add(zone, job.id, tech) end
      Arrival.follow(zone, job, tech, speed, before, batch.pace, batch.events)
    end
  end
  if kind == 'more' then return outcome end
  local changes_rate, rate = FixRate.publish(zone, tech, FixRate.choose(tech, is_still, jobs))
  if changes_rate then redis.call('HSET', key, 'rate', rate) end
  PositionFeed.publish(zone, tech, jobs, heading, known == 'jumped')
  return outcome
end
