--[[ technician_online: sets a technician online: they receive offers from now on.
KEYS    meta  tech  seen  log  req
ARGV    epoch  id  key  fingerprint  lat  lon  audience
OK      seq  version  clock  rate  blockers…
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  INVALID
EMITS   technician.status
TOUCHES {z}:supply:*  {z}:summaries  {z}:due  {z}:people  {z}:job:*  {z}:open:*  (same slot, names known only inside)
]]
--- @include "lib/eligibility"
--- @include "lib/event_log"
--- @include "lib/fix_rate"
--- @include "lib/idempotency"
--- @include "lib/supply"
--- @include "lib/tech"
--- @include "lib/technician_status"
--- @include "lib/zone"
local meta, tech_key, seen, log, req = unpack(KEYS)
local epoch, id, key, fingerprint, lat, lon, audience = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local tech, again = Tech.load(tech_key), Idempotency.lookup(req, fingerprint)
local clock = redis.call('HGET', tech_key, 'clock') or ''
if again then
  if again[1] ~= 'OK' then return again end
  return {'OK', '1', again[3], 0, clock, FixRate.last_sent(tech), unpack(Eligibility.blockers(zone, tech))}
end
local why = Tech.refusal(tech)
if why then return Idempotency.refuse(req, fingerprint, why) end
if lat == '' and tech.lat == '' then return Idempotency.refuse(req, fingerprint, 'INVALID') end

local was = tech.online
tech.online = '1'
redis.call('HSET', tech_key, 'online', '1')
if was ~= '1' then redis.call('HSET', tech_key, 'free_at', zone.now) end -- time offline is no waiting time
if lat ~= '' then
  tech.lat, tech.lon, tech.fix_at, tech.acc = lat, lon, zone.now, ''
  Supply.write(zone, tech, 'lat', lat, 'lon', lon, 'fix_at', zone.now, 'acc', '', 'jump', '')
end
redis.call('ZADD', seen, zone.now, id)
Supply.sync(zone, tech, true)
local seq = zone.seq
if was ~= '1' then
  local event = TechnicianStatus.event(tech, true, 'self', audience)
  event.actor, event.cause = 'technician:' .. id, key .. ':' .. fingerprint
  seq = EventLog.append(zone, log, event)
  EventLog.save_seq(zone)
end
Idempotency.store(req, fingerprint, seq, 0, '-', Idempotency.STEP_MS)
return {'OK', '0', seq, 0, clock, FixRate.last_sent(tech), unpack(Eligibility.blockers(zone, tech))}
