--[[ job_expire: ends a job that nobody accepted in time. Its scheduled task is `expire:<job>`; the script changes
nothing if the job has changed.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  bp  plan  grace_ms  lease_ms
OK      seq  version
ERR     STALE_EPOCH  OTHER_BLUEPRINT
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:job:*:bids  {z}:demand:*  {z}:tech:*  {z}:tech:*:plan  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:dispute:*  {z}:disputes  {z}:live  {z}:open:*  {z}:people  {z}:summaries  {z}:supply:*  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/apply_step"
--- @include "lib/command"
--- @include "lib/job"
--- @include "lib/plan"
--- @include "lib/step"
--- @include "lib/zone"
local meta, job_key, offers, due, log = unpack(KEYS)
local epoch, entry, bp, plan_json, grace_ms, lease_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if job and job.bp ~= bp then return {'OTHER_BLUEPRINT', job.bp} end
if not job or job.phase ~= 'open' or job.expires == 0 or plan_json == '' then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
if not Zone.has_ended(zone, job.expires + grace_ms, lease_ms) then
  redis.call('ZADD', due, math.max(job.expires + grace_ms, zone.opened + lease_ms) + 1, entry)
  return {'OK', '0', 0, 0}
end
local plan = Plan.parse(plan_json)
-- The job entered another state after the caller read the job: the scheduled task stays and runs again.
if not Step.allows_state(job, plan, 'engine') then return {'OK', '0', 0, 0} end
redis.call('ZREM', due, entry)
local events = ApplyStep.run(zone, job, offers, plan, {reason = '"unclaimed"'}, 'engine')
return Command.finish(zone, log, job, events, {actor = 'engine', cause = ''})
