--[[ offer_refuse: records that a technician refuses a job for which only they were asked: the job is then on offer
again, or ends.
KEYS    meta  job  offers  causes  tech_offers  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  args  lease_ms
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  NOT_OFFERED  TAKEN  UNSIGNED  FILES_MISSING
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:demand:*  {z}:due  {z}:tech:*  {z}:tech:*:plan  {z}:user:*:jobs  {z}:supply:*  {z}:summaries  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:dispute:*  {z}:disputes  {z}:live  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/apply_step"
--- @include "lib/command"
--- @include "lib/idempotency"
--- @include "lib/job"
--- @include "lib/offers"
--- @include "lib/plan"
--- @include "lib/step"
--- @include "lib/zone"
local meta, job_key, offers, causes, tech_offers, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan_json, args_json, lease_ms = unpack(ARGV)
local zone, actor = Zone.enter(meta, epoch), 'technician:' .. technician
if not zone then return {'STALE_EPOCH'} end
local plan, args = Plan.parse(plan_json), cjson.decode(args_json)
local request = {bp = bp, actor = actor, cause = key .. ':' .. fingerprint, trace = trace, req = req,
  fingerprint = fingerprint, causes = causes}
local job, again = Command.begin(zone, job_key, request)
if again then return again end
local mine = job and redis.call('HGET', offers, technician)
if not mine then return Command.not_found(job, req, fingerprint) end
local offer = Offers.parse(mine)
if offer.status == 'rejected' then
  return Idempotency.answer_unchanged(zone, req, fingerprint, job.version, job.id, Job.public_json(job))
end
local why = Step.closed_word(job, plan.over) or Step.refusal(zone, job, plan, nil, '')
if why then return Idempotency.refuse(req, fingerprint, why) end
if job.holder ~= '' then return Idempotency.refuse(req, fingerprint, 'TAKEN') end
if offer.status ~= 'sent' or not Job.is_searching(job) then
  return Idempotency.refuse(req, fingerprint, 'NOT_OFFERED')
end
if Zone.has_ended(zone, offer.expires, lease_ms) then return Idempotency.refuse(req, fingerprint, 'EXPIRED') end
if if_version ~= '' and tonumber(if_version) ~= job.version then
  return Idempotency.refuse(req, fingerprint, 'VERSION_CONFLICT')
end

offer.status = 'rejected'
Offers.write(offers, technician, offer)
redis.call('ZREM', tech_offers, job.id)
local done = Command.finish(zone, log, job, ApplyStep.run(zone, job, offers, plan, args, actor), request)
done[6] = Job.public_json(job) -- only the public part: the caller is not the job's technician
return done
