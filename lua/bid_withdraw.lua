--[[ bid_withdraw: withdraws a technician's bid.
KEYS    meta  job  bids  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  bid
OK      seq  version  job_id  bid
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  UNSIGNED  FILES_MISSING
EMITS   bid.closed
]]
--- @include "lib/audience"
--- @include "lib/bids"
--- @include "lib/command"
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/plan"
--- @include "lib/step"
--- @include "lib/zone"
local meta, job_key, bids, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan_json, bid_id = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local plan = Plan.parse(plan_json)
local job, again = Command.begin(zone, job_key, {bp = bp, req = req, fingerprint = fingerprint})
if again then return again end
local mine = job and redis.call('HGET', bids, technician)
local bid = mine and Bids.parse(technician, mine)
if not bid or bid.id ~= bid_id then return Command.not_found(job, req, fingerprint) end
if bid.status == 'withdrawn' then
  return Idempotency.answer_unchanged(zone, req, fingerprint, job.version, job.id, Bids.json(job, bid))
end
local why = Step.refusal(zone, job, plan, nil, if_version)
if why then return Idempotency.refuse(req, fingerprint, why) end
if bid.status ~= 'open' then return Idempotency.refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end

bid.status = 'withdrawn'
Bids.write(bids, bid)
Idempotency.store(req, fingerprint, zone.seq + 1, job.version, job.id, Idempotency.STEP_MS)
local event = Bids.event('bid.closed', job, bid, Audience.channels(plan.audience, job), 'withdrawn')
event.actor, event.cause, event.trace = 'technician:' .. technician, key .. ':' .. fingerprint, trace
local seq = EventLog.append(zone, log, event)
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, job.id, Bids.json(job, bid)}
