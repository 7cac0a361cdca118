--[[ technician_locate: stores a technician's position. `at` is the device's time in ms; '' = now. `live` is 1 for a fix
that was sent when it was measured. A fix that is older, much less accurate or an impossible jump away does not move the
technician. The indexes are updated after a time or a distance (lib/supply).
KEYS    meta  tech  seen
ARGV    epoch  id  lat  lon  at  live  accuracy  heading
OK      seq  version  online  clock
ERR     STALE_EPOCH  NOT_FOUND
TOUCHES {z}:supply:*  {z}:summaries  {z}:due  {z}:tech:*:jobs  {z}:job:*  {z}:live  (same slot, names known only inside)
]]
--- @include "lib/device"
--- @include "lib/geo"
--- @include "lib/position_feed"
--- @include "lib/supply"
--- @include "lib/zone"
local meta, tech_key, seen = unpack(KEYS)
local epoch, id, lat, lon, at, live, accuracy, heading = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local row = redis.call('HMGET', tech_key, 'online', 'load', 'services', 'indexed', 'lat', 'lon', 'fix_at', 'acc',
  'clock', 'jump', 'ilat', 'ilon', 'iat', 'mlat', 'mlon', 'ahead', 'rating', 'capacity')
if not row[2] then return {'NOT_FOUND', '0'} end
local online, was_at, acc, clock = row[1] == '1', tonumber(row[7]) or 0, row[8] or '', row[9] or '- - -'
local offset, changed = 0, nil
-- A fix without its own time has the time of its arrival, and is always newer than the last fix: TIME may have stepped
-- back a little since.
if at == '' then at = math.max(zone.now, was_at + 1) else
  at = tonumber(at)
  if live == '1' then offset, changed = Device.read_clock(clock, zone.now, at)
  else offset = Device.known_offset(clock) end
  at = math.min(zone.now, at - offset)
end
if changed then
  clock = changed
  redis.call('HSET', tech_key, 'clock', clock)
end
if online then redis.call('ZADD', seen, zone.now, id) end
local reply = {'OK', '0', 0, 0, online and '1' or '', clock}
if at <= was_at then return reply end
local known = row[5] and row[5] ~= ''
if known and Device.is_vague(accuracy, acc, zone.now - was_at) then return reply end
if known and acc ~= '' and Device.is_jump(Geo.distance_m(row[5], row[6], lat, lon), at - was_at, accuracy, acc) then
  -- Two consecutive fixes that are closer to each other than to the known position replace the known position.
  local jlat, jlon = string.match(row[10] or '', '^(%S+) (%S+)$')
  if not jlat or Geo.distance_m(jlat, jlon, lat, lon) >= Geo.distance_m(row[5], row[6], lat, lon) then
    redis.call('HSET', tech_key, 'jump', lat .. ' ' .. lon)
    return reply
  end
  known = 'jumped'
end
local tech = {key = tech_key, id = id, online = online and '1' or '', load = tonumber(row[2]) or 0, services = row[3],
  indexed = row[4] or '', lat = lat, lon = lon, fix_at = at, acc = accuracy ~= '' and accuracy or '-',
  rating = row[17], capacity = row[18]}
Supply.write(zone, tech, 'lat', lat, 'lon', lon, 'fix_at', at, 'heading', heading, 'acc', tech.acc)
if row[10] and row[10] ~= '' then redis.call('HSET', tech_key, 'jump', '') end
if not online then return reply end
if tech.load > 0 or (tonumber(row[16]) or 0) > 0 then PositionFeed.publish(zone, tech, heading, known == 'jumped') end
if tech.indexed ~= '' then
  local is_old = zone.now - (tonumber(row[13]) or 0) >= Supply.PLACE_MS
  if is_old or Geo.distance_m(row[11], row[12], lat, lon) >= Supply.PLACE_M then Supply.place(zone, tech) end
  if not row[14] or Geo.distance_m(row[14], row[15], lat, lon) >= Supply.MATCH_M then
    Supply.schedule_match(zone, tech)
  end
end
return reply
