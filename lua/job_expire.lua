--[[ job_expire: nobody took the job in its time. Due work `expire:<job>`; a no-op where the job has moved on.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  bp  plan  grace_ms  lease_ms
OK      seq  version
ERR     STALE_EPOCH  OTHER_BLUEPRINT
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status
TOUCHES {z}:job:*:bids  {z}:demand:*  {z}:tech:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/moving"
local meta, job, offers, due, log = unpack(KEYS)
local epoch, entry, bp, plan, grace_ms, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
if not j or j.phase ~= 'open' or j.expires == 0 or plan == '' then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
if not over(z, j.expires + grace_ms, lease_ms) then
  redis.call('ZADD', due, math.max(j.expires + grace_ms, z.opened + lease_ms) + 1, entry)
  return {'OK', '0', 0, 0}
end
local p = cjson.decode(plan)
-- The job came to another state after the caller looked: the entry stays, and is looked at again.
if not step_from(j, p, 'engine') then return {'OK', '0', 0, 0} end
redis.call('ZREM', due, entry)
local events = moving(z, j, offers, p, {reason = '"unclaimed"'}, 'engine')
return finish(z, log, j, events, {actor = 'engine', cause = ''})
