--[[ bid_create: creates a technician's bid for a job that accepts bids. If the technician was invited, the bid also
answers the invitation. A bid for a job with a time is refused if the technician has no time for it by the rule
`schedule`.
KEYS    meta  job  bids  offers  tech  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  bid  amount  note  max_bids  grace_ms  lease_ms  schedule
OK      seq  version  job_id  bid
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  NOT_FOUND  OTHER_BLUEPRINT  TAKEN  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  NOT_OFFERED  DUPLICATE  SCHEDULE_CONFLICT  AT_CAPACITY  UNSIGNED  FILES_MISSING
EMITS   bid.created
TOUCHES {z}:tech:*:offers  {z}:tech:*:plan  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/audience"
--- @include "lib/bids"
--- @include "lib/command"
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/offers"
--- @include "lib/plan"
--- @include "lib/schedule"
--- @include "lib/step"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, job_key, bids, offers, tech_key, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan_json, bid_id, amount, note, max_bids, grace_ms,
  lease_ms, schedule = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local plan = Plan.parse(plan_json)
local job, again = Command.begin(zone, job_key, {bp = bp, req = req, fingerprint = fingerprint})
if again then return again end
local tech = Tech.load(tech_key)
local why = Tech.refusal(tech)
if why then return Idempotency.refuse(req, fingerprint, why) end
if not job or not Bids.is_eligible(zone, job, tech) then return Command.not_found(job, req, fingerprint) end
why = Step.refusal(zone, job, plan, nil, if_version)
-- A technician who bids after another one got the job gets TAKEN.
if why == 'ILLEGAL_TRANSITION' and job.mode == 'none' and job.holder ~= '' and job.holder ~= technician then
  why = 'TAKEN'
end
if why then return Idempotency.refuse(req, fingerprint, why) end
if not Bids.accepts_bids(job) then return Idempotency.refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
if job.expires > 0 and Zone.has_ended(zone, job.expires + grace_ms, lease_ms) then
  return Idempotency.refuse(req, fingerprint, 'EXPIRED')
end
local text, mine = redis.call('HGET', offers, technician), redis.call('HGET', bids, technician)
if Bids.has_left(text) then return Idempotency.refuse(req, fingerprint, 'NOT_OFFERED') end
if mine and Bids.parse(technician, mine).status == 'open' then
  return Idempotency.refuse(req, fingerprint, 'DUPLICATE')
end
Schedule.load(job)
if Schedule.rule_of_search(job, schedule) then
  local from, to, other = Schedule.check(zone, job, tech, schedule)
  if from then return Idempotency.refuse(req, fingerprint, 'SCHEDULE_CONFLICT', from, to, other) end
end
if not mine and redis.call('HLEN', bids) >= tonumber(max_bids) then
  return Idempotency.refuse(req, fingerprint, 'AT_CAPACITY')
end

local bid = {technician = technician, status = 'open', id = bid_id, at = zone.now, amount = amount, rest =
  '"technician":{"id":"' .. tech.id .. '","name":' .. tech.name .. ',"rating":' .. tech.rating .. '},"version":' ..
    job.version .. ',"note":' .. note}
Bids.write(bids, bid)
local offer = text and Offers.parse(text)
if offer and offer.status == 'sent' then
  offer.status = 'accepted'
  Offers.write(offers, technician, offer)
  redis.call('ZREM', zone.tag .. 'tech:' .. technician .. ':offers', job.id)
end
Idempotency.store(req, fingerprint, zone.seq + 1, job.version, job.id, Idempotency.CREATION_MS)
local event = Bids.event('bid.created', job, bid, Audience.channels(plan.audience, job))
event.actor, event.cause, event.trace = 'technician:' .. technician, key .. ':' .. fingerprint, trace
local seq = EventLog.append(zone, log, event)
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, job.id, Bids.json(job, bid)}
