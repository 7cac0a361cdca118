--[[ technician_locate: where he is. Older fixes than the one known change nothing; the indexes follow at 100 m or 30 s.
KEYS    meta  tech  seen
ARGV    epoch  id  lat  lon  age_ms  heading
OK      seq  version
ERR     STALE_EPOCH  NOT_FOUND
TOUCHES {z}:supply:*  {z}:due  {z}:tech:*:jobs  {z}:job:*  {z}:live  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/supply"
--- @include "lib/geo"
--- @include "lib/live"
local meta, tech, seen = unpack(KEYS)
local epoch, id, lat, lon, age_ms, heading = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local t = tech_load(tech)
if not t then return {'NOT_FOUND', '0'} end
local at = z.now - tonumber(age_ms)
if at <= t.fix_at then return {'OK', '0', 0, 0} end
t.lat, t.lon, t.fix_at = lat, lon, at
redis.call('HSET', tech, 'lat', lat, 'lon', lon, 'fix_at', at, 'heading', heading)
if t.load > 0 then live_publish(z, t, heading) end
if t.online ~= '1' then return {'OK', '0', 0, 0} end
redis.call('ZADD', seen, z.now, id)
if t.indexed ~= '' then
  local p = redis.call('HMGET', tech, 'ilat', 'ilon', 'iat', 'mlat', 'mlon')
  if z.now - (tonumber(p[3]) or 0) >= 30000 or metres(p[1], p[2], lat, lon) >= 100 then supply_place(z, t) end
  if not p[4] or metres(p[4], p[5], lat, lon) >= 250 then match_soon(z, t) end
end
return {'OK', '0', 0, 0}
