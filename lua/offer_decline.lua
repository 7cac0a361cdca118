--[[ offer_decline: declines an offer for its technician; the job stays open to the others. `plan` is the plan of the
command (engine/blueprint/compiler.py), as JSON.
KEYS    meta  job  offers  causes  tech_offers  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  reason  lease_ms
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  CANCELLED  EXPIRED  TAKEN  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  NOT_OFFERED  VERSION_CONFLICT  UNSIGNED  FILES_MISSING
EMITS   offer.declined
TOUCHES {z}:due  (same slot, names known only inside)
]]
--- @include "lib/audience"
--- @include "lib/command"
--- @include "lib/idempotency"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/offers"
--- @include "lib/plan"
--- @include "lib/step"
--- @include "lib/wave_advance"
--- @include "lib/zone"
local meta, job_key, offers, causes, tech_offers, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan_json, reason, lease_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local plan = Plan.parse(plan_json)
local request = {bp = bp, actor = 'technician:' .. technician, cause = key .. ':' .. fingerprint, trace = trace,
  req = req, fingerprint = fingerprint, causes = causes}
local job, again = Command.begin(zone, job_key, request)
if again then return again end
if not job then return Command.not_found(job, req, fingerprint) end
local mine = redis.call('HGET', offers, technician)
local offer = mine and Offers.parse(mine)
if offer and offer.status == 'rejected' then
  return Idempotency.answer_unchanged(zone, req, fingerprint, job.version, job.id, Job.public_json(job))
end
local why = Step.closed_word(job, plan.over)
if why then return Idempotency.refuse(req, fingerprint, why) end
if job.holder ~= '' then return Idempotency.refuse(req, fingerprint, 'TAKEN') end
why = Step.refusal(zone, job, plan, nil, '')
if why then return Idempotency.refuse(req, fingerprint, why) end
if not offer or not Job.is_searching(job) or offer.status == 'withdrawn' or offer.status == 'left' then
  return Idempotency.refuse(req, fingerprint, 'NOT_OFFERED')
end
if offer.status ~= 'sent' or Zone.has_ended(zone, offer.expires, lease_ms) then
  return Idempotency.refuse(req, fingerprint, 'EXPIRED')
end
if if_version ~= '' and tonumber(if_version) ~= job.version then
  return Idempotency.refuse(req, fingerprint, 'VERSION_CONFLICT')
end

offer.status = 'rejected'
Offers.write(offers, technician, offer)
redis.call('ZREM', tech_offers, job.id)
JobFields.increment(job_key, 'declined', 1)
WaveAdvance.advance(zone, job, offers)
local shown = Job.public_json(job) -- the event contains this text too, because a repeat is answered from the event
return Command.finish(zone, log, job, {{type = 'offer.declined', to = Audience.channels(plan.audience, job),
  shown = shown, data = '{"job":' .. shown .. ',"technician":{"id":"' .. technician .. '"}' ..
    (reason ~= '' and ',"reason":' .. reason or '') .. '}'}}, request)
