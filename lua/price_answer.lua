--[[ price_answer: accepts or rejects a proposed price for the other side of the job. An accepted price becomes the
price of the job. If money is held for the job, the step requests a hold of the new amount; `payment_audience` receives that.
If the amounts that were captured before cover the new price, the job is paid (`captures`, as in payment_put).
KEYS    meta  job  offers  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  id  answer  states  audience  payment_audience  captures
OK      seq  version  job_id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  FORBIDDEN  FROZEN  PRICE_LOCKED  ILLEGAL_TRANSITION  VERSION_CONFLICT
EMITS   price.changed  price.rejected  payment.requested  job.*  bid.closed  offer.closed  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:user:*:jobs  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:due  {z}:disputes  {z}:dispute:*  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/audience"
--- @include "lib/command"
--- @include "lib/event_log"
--- @include "lib/hold"
--- @include "lib/idempotency"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/job_record"
--- @include "lib/payment_capture"
--- @include "lib/proposal"
--- @include "lib/relation"
--- @include "lib/zone"
local meta, job_key, offers, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, id, answer, states, audience, payment_audience,
  captures_json = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, again = Command.begin(zone, job_key, {bp = bp, req = req, fingerprint = fingerprint, causes = causes})
if again then return again end
if not job or not Relation.any(job, actor, 'customer holder') then
  return Command.not_found(job, req, fingerprint)
end
local proposal = Proposal.load(job)
if not proposal or proposal.id ~= id then return Command.not_found(job, req, fingerprint) end
if proposal.by == actor then return Idempotency.refuse(req, fingerprint, 'FORBIDDEN') end
if proposal.status == answer then
  return Idempotency.answer_again(req, fingerprint, redis.call('HGET', job_key, 'answered'), job.version, job.id)
end
local why = Proposal.refusal(job, states)
if why then return Idempotency.refuse(req, fingerprint, why) end
if not Proposal.is_open(job, proposal) then return Idempotency.refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
if if_version ~= '' and tonumber(if_version) ~= job.version then
  return Idempotency.refuse(req, fingerprint, 'VERSION_CONFLICT')
end

local seq, kind, requests = zone.seq + 1, 'price.rejected', {}
proposal.status = answer
Proposal.save(job, proposal)
JobFields.set(job_key, 'answered', seq)
if answer == 'accepted' then
  kind, job.amount = 'price.changed', proposal.amount
  redis.call('HSET', job_key, 'amount', job.amount)
  Job.next_version(zone, job, nil)
  job.last = 'price ' .. actor .. ' ' .. string.format('%.0f', seq)
  requests = Hold.follow_price(job, payment_audience)
  JobRecord.save(job)
end
local role, who = string.match(actor, '^([^:]*):(.*)$')
local events = {{type = kind, to = Audience.channels(audience, job), data = '{"job":' .. Job.full_json(job) ..
  ',"proposal":' .. Proposal.json(proposal) .. ',"actor":{"id":"' .. who .. '","role":"' .. role .. '"}' ..
  (answer == 'accepted' and ',"payment_requested":' .. tostring(#requests > 0) or '') .. '}'}}
for _, event in ipairs(requests) do events[#events + 1] = event end
if answer == 'accepted' then
  PaymentCapture.pay_again(zone, job, offers, cjson.decode(captures_json), actor, events)
end
Idempotency.store(req, fingerprint, seq, job.version, job.id, Idempotency.CREATION_MS, causes)
for _, event in ipairs(events) do
  event.actor, event.bp, event.trace, event.cause = actor, bp, trace, key .. ':' .. fingerprint
  EventLog.append(zone, log, event)
end
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, job.id}
