--[[ job_claim: makes a technician the holder of a job that was offered to them. `plan` is the plan of the command
(engine/blueprint/compiler.py), as JSON.
KEYS    meta  job  offers  causes  tech  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  grace_ms  lease_ms  schedule
OK      seq  version  job_id  job  contact
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  NOT_FOUND  OTHER_BLUEPRINT  CANCELLED  EXPIRED  TAKEN  ILLEGAL_TRANSITION  FROZEN  NOT_OFFERED  TOO_EARLY  SCHEDULE_CONFLICT  AT_CAPACITY  VERSION_CONFLICT  UNSIGNED  FILES_MISSING
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:user:*:jobs  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:due  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:dispute:*  {z}:disputes  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/apply_step"
--- @include "lib/command"
--- @include "lib/idempotency"
--- @include "lib/job"
--- @include "lib/offers"
--- @include "lib/plan"
--- @include "lib/schedule"
--- @include "lib/step"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, job_key, offers, causes, tech_key, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan_json, grace_ms, lease_ms,
  schedule = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local plan = Plan.parse(plan_json)
local request = {bp = bp, actor = 'technician:' .. technician, cause = key .. ':' .. fingerprint, trace = trace,
  req = req, fingerprint = fingerprint, causes = causes}
local job, again = Command.begin(zone, job_key, request)
if again then return again end
local tech = Tech.load(tech_key)
local why = Tech.refusal(tech)
if why then return Idempotency.refuse(req, fingerprint, why) end
if not job then return Command.not_found(job, req, fingerprint) end
why = Step.closed_word(job, plan.over)
  or job.expires > 0 and Zone.has_ended(zone, job.expires + grace_ms, lease_ms) and 'EXPIRED'
if why then return Idempotency.refuse(req, fingerprint, why) end
local seq, version = string.match(job.claimed, '^(%d+) (%d+)$')
if job.holder == technician and seq then return Idempotency.answer_again(req, fingerprint, seq, version, job.id) end
if job.holder ~= '' then return Idempotency.refuse(req, fingerprint, 'TAKEN') end
why = Step.refusal(zone, job, plan, nil, '')
if why and why ~= 'TOO_EARLY' then return Idempotency.refuse(req, fingerprint, why) end
local few = Offers.read_few(offers)
local offer = Offers.find(offers, few, technician)
if not offer or not Job.is_searching(job) or offer.status == 'rejected' or offer.status == 'withdrawn'
  or offer.status == 'left' then
  return Idempotency.refuse(req, fingerprint, 'NOT_OFFERED')
end
if offer.status ~= 'sent' or Zone.has_ended(zone, offer.expires + grace_ms, lease_ms) then
  return Idempotency.refuse(req, fingerprint, 'EXPIRED')
end
if why or offer.opens > zone.now then return Idempotency.refuse(req, fingerprint, 'TOO_EARLY') end
local from, to, other = Schedule.check(zone, job, tech, schedule)
if from then return Idempotency.refuse(req, fingerprint, 'SCHEDULE_CONFLICT', from, to, other) end
if tech.load >= tech.capacity and job.begins <= zone.now then
  return Idempotency.refuse(req, fingerprint, 'AT_CAPACITY')
end
-- This check is the last one, because its reply contains the job, which only a technician with an offer may see.
if if_version ~= '' and tonumber(if_version) ~= job.version then
  return Idempotency.refuse(req, fingerprint, 'VERSION_CONFLICT')
end
local events = ApplyStep.run(zone, job, offers, plan, {offers = few}, request.actor, tech)
local done = Command.finish(zone, log, job, events, request)
done[7] = job.contact or ''
return done
