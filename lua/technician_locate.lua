--[[ technician_locate: stores where a technician is. `at` is the device's time in ms, or nothing for now; `live` is 1
for a fix that was sent when it was measured. A fix that is older, much less accurate or an impossible jump away does
not move them; the indexes follow at 100 m or 30 s.
KEYS    meta  tech  seen
ARGV    epoch  id  lat  lon  at  live  accuracy  heading
OK      seq  version  online  clock
ERR     STALE_EPOCH  NOT_FOUND
TOUCHES {z}:supply:*  {z}:due  {z}:tech:*:jobs  {z}:job:*  {z}:live  (same slot, names known only inside)
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
local v = redis.call('HMGET', tech_key, 'online', 'load', 'services', 'indexed', 'lat', 'lon', 'fix_at', 'acc', 'clock',
  'jump', 'ilat', 'ilon', 'iat', 'mlat', 'mlon', 'ahead')
if not v[2] then return {'NOT_FOUND', '0'} end
local online, was_at, acc, clock = v[1] == '1', tonumber(v[7]) or 0, v[8] or '', v[9] or '- - -'
local offset, changed = 0, nil
-- A fix without a time of its own is as new as its arrival: TIME may have stepped back a little since the previous
-- one.
if at == '' then at = math.max(zone.now, was_at + 1) else
  at = tonumber(at)
  if live == '1' then offset, changed = Device.read_clock(clock, zone.now,
    at) else offset = Device.known_offset(clock) end
  at = math.min(zone.now, at - offset)
end
if changed then
  clock = changed
  redis.call('HSET', tech_key, 'clock', clock)
end
if online then redis.call('ZADD', seen, zone.now, id) end
local reply = {'OK', '0', 0, 0, online and '1' or '', clock}
if at <= was_at then return reply end
local known = v[5] and v[5] ~= ''
if known and Device.is_vague(accuracy, acc, zone.now - was_at) then return reply end
if known and acc ~= '' and Device.is_jump(Geo.distance_m(v[5], v[6], lat, lon), at - was_at, accuracy, acc) then
  -- Two fixes in a row that agree more with each other than with the known position outweigh it.
  local jlat, jlon = string.match(v[10] or '', '^(%S+) (%S+)$')
  if not jlat or Geo.distance_m(jlat, jlon, lat, lon) >= Geo.distance_m(v[5], v[6], lat, lon) then
    redis.call('HSET', tech_key, 'jump', lat .. ' ' .. lon)
    return reply
  end
  known = 'jumped'
end
local tech = {key = tech_key, id = id, online = online and '1' or '', load = tonumber(v[2]) or 0, services = v[3],
  indexed = v[4] or '', lat = lat, lon = lon, fix_at = at, acc = accuracy ~= '' and accuracy or '-'}
redis.call('HSET', tech_key, 'lat', lat, 'lon', lon, 'fix_at', at, 'heading', heading, 'acc', tech.acc)
if v[10] and v[10] ~= '' then redis.call('HSET', tech_key, 'jump', '') end
if not online then return reply end
if tech.load > 0 or (tonumber(v[16]) or 0) > 0 then PositionFeed.publish(zone, tech, heading, known == 'jumped') end
if tech.indexed ~= '' then
  if zone.now - (tonumber(v[13]) or 0) >= Supply.PLACE_MS or Geo.distance_m(v[11], v[12], lat, lon) >= Supply.PLACE_M then
    Supply.place(zone, tech)
  end
  if not v[14] or Geo.distance_m(v[14], v[15], lat, lon) >= Supply.MATCH_M then Supply.schedule_match(zone, tech) end
end
return reply
