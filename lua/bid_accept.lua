--[[ bid_accept: accepts a bid for its customer. The bid's technician becomes the holder, the bid's amount becomes the
price of a flat job, and all other bids are declined.
KEYS    meta  job  offers  causes  bids  log  req
ARGV    epoch  bid  actor  key  fingerprint  trace  if_version  bp  plan  audience  grace_ms  lease_ms  schedule
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  INVALID  SCHEDULE_CONFLICT  AT_CAPACITY  UNSIGNED  FILES_MISSING
EMITS   job.*  bid.accepted  bid.closed  offer.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:due  {z}:user:*:jobs  {z}:user:*:blocks  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:dispute:*  {z}:disputes  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/apply_step"
--- @include "lib/audience"
--- @include "lib/bids"
--- @include "lib/command"
--- @include "lib/idempotency"
--- @include "lib/plan"
--- @include "lib/relation"
--- @include "lib/schedule"
--- @include "lib/step"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, job_key, offers, causes, bids, log, req = unpack(KEYS)
local epoch, bid_id, actor, key, fingerprint, trace, if_version, bp, plan_json, audience, grace_ms,
  lease_ms, schedule = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local plan = Plan.parse(plan_json)
local request = {bp = bp, actor = actor, cause = key .. ':' .. fingerprint, trace = trace, req = req,
  fingerprint = fingerprint, causes = causes}
local job, again = Command.begin(zone, job_key, request)
if again then return again end
if not job or not Relation.any(job, actor, plan.by) then return Command.not_found(job, req, fingerprint) end
local all, bid = redis.call('HGETALL', bids), nil
for i = 1, #all, 2 do
  local each = Bids.parse(all[i], all[i + 1])
  if each.id == bid_id then bid = each end
end
if not bid then return Command.not_found(job, req, fingerprint) end
if bid.status == 'accepted' and string.find(job.last, plan.command .. ' ' .. actor .. ' ', 1, true) == 1 then
  return Idempotency.answer_again(req, fingerprint, string.match(job.last, '(%d+)$'), job.version, job.id)
end
local why = Step.refusal(zone, job, plan, actor, if_version)
if why then return Idempotency.refuse(req, fingerprint, why) end
if job.expires > 0 and Zone.has_ended(zone, job.expires + grace_ms, lease_ms) then
  return Idempotency.refuse(req, fingerprint, 'EXPIRED')
end
if not Bids.accepts_bids(job) or bid.status ~= 'open' then
  return Idempotency.refuse(req, fingerprint, 'ILLEGAL_TRANSITION')
end
-- job_edit closes the bids if their terms change. This check also covers any other way to change the terms.
local made = tonumber(string.match(bid.rest, '"version":(%d+)')) or 0
if made < (tonumber(redis.call('HGET', job_key, 'terms')) or 0) then
  return Idempotency.refuse(req, fingerprint, 'VERSION_CONFLICT')
end
local tech = Tech.load(zone.tag .. 'tech:' .. bid.technician)
if not Bids.is_eligible(zone, job, tech) then return Idempotency.refuse(req, fingerprint, 'INVALID') end
local from, to, other = Schedule.check(zone, job, tech, schedule)
if from then return Idempotency.refuse(req, fingerprint, 'SCHEDULE_CONFLICT', from, to, other) end
if tech.load >= tech.capacity and job.begins <= zone.now then
  return Idempotency.refuse(req, fingerprint, 'AT_CAPACITY')
end

bid.status = 'accepted'
Bids.write(bids, bid)
if bid.amount ~= '-' and string.find(job.pub, '"pricing":"flat"', 1, true) then
  job.amount = bid.amount
  redis.call('HSET', job_key, 'amount', job.amount)
end
local events = ApplyStep.run(zone, job, offers, plan, {}, actor, tech)
table.insert(events, 2, Bids.event('bid.accepted', job, bid, Audience.channels(audience, job)))
return Command.finish(zone, log, job, events, request)
