--[[ technician_locate: where a technician is. `at` is the device's time in ms, or nothing for now; `live` is 1 for a fix
that was sent when it was measured. A fix that is older, much vaguer or an impossible jump away does not move them; the
indexes follow at 100 m or 30 s.
KEYS    meta  tech  seen
ARGV    epoch  id  lat  lon  at  live  accuracy  heading
OK      seq  version  online  clock
ERR     STALE_EPOCH  NOT_FOUND
TOUCHES {z}:supply:*  {z}:due  {z}:tech:*:jobs  {z}:job:*  {z}:live  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/supply"
--- @include "lib/geo"
--- @include "lib/device"
--- @include "lib/live"
local meta, tech, seen = unpack(KEYS)
local epoch, id, lat, lon, at, live, accuracy, heading = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local v = redis.call('HMGET', tech, 'online', 'load', 'services', 'indexed', 'lat', 'lon', 'fix_at', 'acc', 'clock',
  'jump', 'ilat', 'ilon', 'iat', 'mlat', 'mlon', 'ahead')
if not v[2] then return {'NOT_FOUND', '0'} end
local online, was_at, acc, clock = v[1] == '1', tonumber(v[7]) or 0, v[8] or '', v[9] or '- - -'
local offset, changed = 0, nil
-- Without a time of its own a fix is as new as its arrival: TIME may have stepped back a little since the one before.
if at == '' then at = math.max(z.now, was_at + 1) else
  at = tonumber(at)
  if live == '1' then offset, changed = clock_read(clock, z.now, at) else offset = clock_known(clock) end
  at = math.min(z.now, at - offset)
end
if changed then
  clock = changed
  redis.call('HSET', tech, 'clock', clock)
end
if online then redis.call('ZADD', seen, z.now, id) end
local reply = {'OK', '0', 0, 0, online and '1' or '', clock}
if at <= was_at then return reply end
local known = v[5] and v[5] ~= ''
if known and is_vague(accuracy, acc, z.now - was_at) then return reply end
if known and acc ~= '' and is_jump(metres(v[5], v[6], lat, lon), at - was_at, accuracy, acc) then
  -- Two fixes in a row that agree more with each other than with what is known outweigh it.
  local jlat, jlon = string.match(v[10] or '', '^(%S+) (%S+)$')
  if not jlat or metres(jlat, jlon, lat, lon) >= metres(v[5], v[6], lat, lon) then
    redis.call('HSET', tech, 'jump', lat .. ' ' .. lon)
    return reply
  end
  known = 'jumped'
end
local t = {key = tech, id = id, online = online and '1' or '', load = tonumber(v[2]) or 0, services = v[3],
  indexed = v[4] or '', lat = lat, lon = lon, fix_at = at, acc = accuracy ~= '' and accuracy or '-'}
redis.call('HSET', tech, 'lat', lat, 'lon', lon, 'fix_at', at, 'heading', heading, 'acc', t.acc)
if v[10] and v[10] ~= '' then redis.call('HSET', tech, 'jump', '') end
if not online then return reply end
if t.load > 0 or (tonumber(v[16]) or 0) > 0 then live_publish(z, t, heading, known == 'jumped') end
if t.indexed ~= '' then
  if z.now - (tonumber(v[13]) or 0) >= 30000 or metres(v[11], v[12], lat, lon) >= 100 then supply_place(z, t) end
  if not v[14] or metres(v[14], v[15], lat, lon) >= 250 then match_soon(z, t) end
end
return reply
