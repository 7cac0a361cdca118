--[[ technician_offline: sets a technician offline: at their own request, or because their lease expired. For an expired
lease, the script changes nothing if the technician sent something in the meantime.
KEYS    meta  tech  seen  log  req
ARGV    epoch  id  actor  key  fingerprint  reason  lease_ms  audience
OK      seq  version  clock  rate
ERR     STALE_EPOCH  REUSED_KEY
EMITS   technician.status  offer.closed
FLAGS   allow-oom
TOUCHES {z}:supply:*  {z}:summaries  {z}:due  {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/fix_rate"
--- @include "lib/idempotency"
--- @include "lib/presence"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, tech_key, seen, log, req = unpack(KEYS)
local epoch, id, actor, key, fingerprint, reason, lease_ms, audience = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = key ~= '' and Idempotency.lookup(req, fingerprint)
local tech, clock = Tech.load(tech_key), redis.call('HGET', tech_key, 'clock') or ''
if again and again[1] == 'OK' then return {'OK', '1', again[3], 0, clock, FixRate.last_sent(tech)} end
if again then return again end
if reason == 'lease' then
  local last = tonumber(redis.call('ZSCORE', seen, id) or '')
  if last and not Zone.has_ended(zone, last + lease_ms, lease_ms) then
    return {'OK', '0', 0, 0, clock, FixRate.last_sent(tech)}
  end
end
local seq, cause = zone.seq, key ~= '' and key .. ':' .. fingerprint or ''
if tech and tech.online == '1' then
  seq = Presence.go_offline(zone, tech, seen, log, {reason = reason, actor = actor, cause = cause, audience = audience})
  EventLog.save_seq(zone)
else redis.call('ZREM', seen, id) end
if key ~= '' then Idempotency.store(req, fingerprint, seq, 0, '-', Idempotency.STEP_MS) end
return {'OK', '0', seq, 0, clock, FixRate.last_sent(tech)}
