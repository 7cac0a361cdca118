--[[ technician_online: a technician starts to receive offers.
KEYS    meta  tech  seen  log  req
ARGV    epoch  id  key  fingerprint  lat  lon  words
OK      seq  version  clock  load  blockers…
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  INVALID
EMITS   technician.status
TOUCHES {z}:supply:*  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/supply"
--- @include "lib/append"
--- @include "lib/status"
local meta, tech, seen, log, req = unpack(KEYS)
local epoch, id, key, fingerprint, lat, lon, words = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local t, again = tech_load(tech), remembered(req, fingerprint)
local clock = redis.call('HGET', tech, 'clock') or ''
local function blockers()
  local full, stale = t.load >= t.capacity, z.now - t.fix_at > 120000
  return full and 'at_capacity' or stale and 'stale_position' or nil, full and stale and 'stale_position' or nil
end
if again then
  if again[1] ~= 'OK' then return again end
  return {'OK', '1', again[3], 0, clock, t.load, blockers()}
end
local why = unfit(t)
if why then return refuse(req, fingerprint, why) end
if lat == '' and t.lat == '' then return refuse(req, fingerprint, 'INVALID') end

local was = t.online
t.online = '1'
redis.call('HSET', tech, 'online', '1')
if was ~= '1' then redis.call('HSET', tech, 'free_at', z.now) end -- who was away has not been waiting
if lat ~= '' then
  t.lat, t.lon, t.fix_at = lat, lon, z.now
  redis.call('HSET', tech, 'lat', lat, 'lon', lon, 'fix_at', z.now, 'acc', '', 'jump', '')
end
redis.call('ZADD', seen, z.now, id)
if supply_sync(z, t) then match_soon(z, t) end
local seq = z.seq
if was ~= '1' then
  local event = tech_status(t, true, 'self', words)
  event.actor, event.cause = 'technician:' .. id, key .. ':' .. fingerprint
  seq = append(z, log, event)
  leave(z)
end
remember(req, fingerprint, seq, 0, '-', 600000)
return {'OK', '0', seq, 0, clock, t.load, blockers()}
