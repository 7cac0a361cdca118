--[[ job_assign: gives a job to a technician whom ops or the engine chose. The technician becomes the holder of the job,
and replaces the present holder, if there is one.
KEYS    meta  job  offers  causes  tech  log  req
ARGV    epoch  technician  actor  key  fingerprint  trace  if_version  bp  plan  args  schedule
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  INVALID  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  SCHEDULE_CONFLICT  AT_CAPACITY  UNSIGNED  FILES_MISSING
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:job:*:bids  {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:due  {z}:user:*:jobs  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:dispute:*  {z}:disputes  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/apply_step"
--- @include "lib/command"
--- @include "lib/idempotency"
--- @include "lib/job_fields"
--- @include "lib/plan"
--- @include "lib/relation"
--- @include "lib/schedule"
--- @include "lib/step"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, job_key, offers, causes, tech_key, log, req = unpack(KEYS)
local epoch, technician, actor, key, fingerprint, trace, if_version, bp, plan_json, args_json,
  schedule = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local plan, args = Plan.parse(plan_json), cjson.decode(args_json)
local request = {bp = bp, actor = actor, cause = key .. ':' .. fingerprint, trace = trace, req = req,
  fingerprint = fingerprint, causes = causes}
local job, again = Command.begin(zone, job_key, request)
if again then return again end
if not job or not Relation.any(job, actor, plan.by) then return Command.not_found(job, req, fingerprint) end
local why = Step.refusal(zone, job, plan, actor, if_version)
if why then return Idempotency.refuse(req, fingerprint, why) end
-- A job that the technician already holds does not change.
if job.holder == technician then
  return Idempotency.answer_again(req, fingerprint, string.match(job.last, '(%d+)$'), job.version, job.id)
end
local tech = Tech.load(tech_key)
if not tech then return Idempotency.refuse(req, fingerprint, 'INVALID') end
why = Tech.refusal(tech)
if why then return Idempotency.refuse(req, fingerprint, why) end
local from, to, other = Schedule.check(zone, job, tech, schedule)
if not args.force then
  if not string.find(' ' .. tech.services .. ' ', ' ' .. job.service .. ' ', 1, true) then
    return Idempotency.refuse(req, fingerprint, 'INVALID')
  end
  if from then return Idempotency.refuse(req, fingerprint, 'SCHEDULE_CONFLICT', from, to, other) end
  if tech.load >= tech.capacity and job.begins <= zone.now then
    return Idempotency.refuse(req, fingerprint, 'AT_CAPACITY')
  end
end
JobFields.remove(job_key, 'unserved')
return Command.finish(zone, log, job, ApplyStep.run(zone, job, offers, plan, args, actor, tech), request)
