--[[ dayplan_create: stores a day plan that is being computed, once per idempotency key. If the computation does not end
within `until_ms` from now, it counts as failed.
KEYS    meta  plan  req
ARGV    epoch  id  actor  fingerprint  day  fixed  until_ms
OK      seq  version  plan_id
ERR     STALE_EPOCH  REUSED_KEY
]]
--- @include "lib/day_plan"
--- @include "lib/idempotency"
--- @include "lib/zone"
local meta, plan_key, req = unpack(KEYS)
local epoch, id, actor, fingerprint, day, fixed, until_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = Idempotency.lookup(req, fingerprint)
if again then return Idempotency.at_head(zone, again) end
redis.call('HSET', plan_key, 'actor', actor, 'day', day, 'fixed', fixed, 'state', 'computing', 'until',
  string.format('%.0f', zone.now + until_ms))
redis.call('PEXPIRE', plan_key, DayPlan.KEPT_MS)
Idempotency.store(req, fingerprint, 0, 0, id, Idempotency.CREATION_MS)
return {'OK', '0', zone.seq, 0, id}
