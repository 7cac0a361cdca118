--[[ job_step: runs one command of a job's blueprint: the job changes its state, ends, gets a mark, is frozen or thawed,
or loses its holder. `plan` is the plan of the command, and `args` are the members of this call
(engine/blueprint/compiler.py); both are JSON.
KEYS    meta  job  offers  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  plan  args
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  CODE_LOCKED  WRONG_CODE  STALE_CODE  TAKEN  UNSIGNED  FILES_MISSING
EMITS   job.*  payment.requested  offer.closed  bid.closed  technician.status  code.failed  code.locked  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger  session.job
TOUCHES {z}:job:*:bids  {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:user:*:jobs  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:due  {z}:disputes  {z}:dispute:*  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/apply_step"
--- @include "lib/codes"
--- @include "lib/command"
--- @include "lib/dispute"
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/plan"
--- @include "lib/relation"
--- @include "lib/signature"
--- @include "lib/step"
--- @include "lib/timers"
--- @include "lib/zone"
local meta, job_key, offers, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, plan_json, args_json = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local plan, args = Plan.parse(plan_json), cjson.decode(args_json)
local request = {bp = bp, actor = actor, cause = '', trace = trace}
if not args.entry then
  request.req, request.fingerprint, request.causes, request.cause = req, fingerprint, causes, key .. ':' .. fingerprint
end
local job, again = Command.begin(zone, job_key, request)
if again then return again end
-- A scheduled task is done once, with any result. The work is a no-op if the job has changed. After a pause the work is
-- done at the earliest one lease later, because nobody could act in the pause.
if args.entry and not Zone.has_ended(zone, 1, args.lease) then
  redis.call('ZADD', zone.tag .. 'due', zone.opened + args.lease + 1, args.entry)
  return {'OK', '0', 0, 0, '-'}
end
-- While the job is frozen, the scheduled task stays and runs again.
if args.entry and not (job and job.frozen ~= '') then
  redis.call('ZREM', zone.tag .. 'due', args.entry)
  if job then Timers.finish(job_key, args.entry) end
end
if args.entry and (not job or job.entered ~= args.entered or Step.refusal(zone, job, plan, actor, '')) then
  EventLog.record_jobs(zone)
  return {'OK', '0', 0, 0, '-'}
end
if not job or not Relation.any(job, actor, plan.by) then return Command.not_found(job, req, fingerprint) end
-- A second request for the same step changes nothing, except that new codes are issued each time. A command that signs
-- counts as repeated only if the second request has a signature too.
if plan.effect ~= 'reissue' and (args.signature or not plan.signs) and
  string.find(job.last, plan.command .. ' ' .. actor .. ' ', 1, true) == 1 then
  return Idempotency.answer_again(req, fingerprint, string.match(job.last, '(%d+)$'), job.version, job.id)
end
local conflict = Signature.conflict(zone, job, args.signature)
if conflict then return conflict end
local why, missing = Step.refusal(zone, job, plan, actor, if_version, args.signature)
if why then return Idempotency.refuse(req, fingerprint, why, missing) end
-- A technician who was assigned the job for a service that they no longer provide may only refuse the job
-- (technician_put).
if job.unaccepted == '1' and plan.effect ~= 'release' and actor == 'technician:' .. job.holder
  and redis.call('HGET', job_key, 'unserved') == job.holder then
  return Idempotency.refuse(req, fingerprint, 'ILLEGAL_TRANSITION')
end
local unresolved = plan.effect == 'thaw' and Dispute.refusal(job, args.dispute, actor)
if unresolved then return Idempotency.refuse(req, fingerprint, unresolved) end
if Signature.is_probe(args.signature) then return {'VERSION_CONFLICT', '0', 'ready'} end
if plan.code then
  local wrong, left = Codes.refusal(zone, log, job, plan, args, request)
  if wrong == 'STALE_CODE' then return {wrong} end
  if wrong then return Idempotency.refuse(req, fingerprint, wrong, left) end
end
if plan.effect == 'reissue' and not Codes.reissue(job, plan.reissues) then
  return Idempotency.refuse(req, fingerprint, 'ILLEGAL_TRANSITION')
end
return Command.finish(zone, log, job, ApplyStep.run(zone, job, offers, plan, args, actor), request)
