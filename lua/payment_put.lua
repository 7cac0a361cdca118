--[[ payment_put: records a report (`notice`) of the payment service about a payment, once per reference and status. A
captured payment is recorded in every state of the job. `captures` are the plans of the blueprint's commands for it
(JSON, `[]` if there are none), `must_sign` is 1 if the customer must sign before money is requested, `commission` is
what the platform keeps (lib/earnings), and `audiences` is the audience of each event (JSON). `members` are the payment's fixed members, `of` is the charge that a refund belongs to, and `why`
says why a payment failed (letters, digits and `_`). A refund that was made and then failed is taken back.
KEYS    meta  job  offers  causes  payments  log  req
ARGV    epoch  actor  key  fingerprint  trace  bp  id  reference  of  status  amount  currency  members  captures  must_sign  commission  audiences  why
OK      seq  version  job_id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  DUPLICATE  FROZEN  UNSIGNED  ILLEGAL_TRANSITION  INVALID
EMITS   payment.requested  payment.authorized  payment.released  payment.received  payment.partial  payment.unexpected  payment.refunded  payment.failed  job.*  bid.closed  offer.closed  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:user:*:jobs  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:due  {z}:disputes  {z}:dispute:*  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/audience"
--- @include "lib/command"
--- @include "lib/earnings"
--- @include "lib/event_log"
--- @include "lib/hold"
--- @include "lib/idempotency"
--- @include "lib/job"
--- @include "lib/job_record"
--- @include "lib/payment"
--- @include "lib/payment_capture"
--- @include "lib/payment_report"
--- @include "lib/zone"
local meta, job_key, offers, causes, payments, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, bp, id, reference, of, status, amount, currency, members, captures_json,
  must_sign, commission, audiences_json, why_failed = unpack(ARGV)
local EVENTS = {requested = 'payment.requested', captured = 'payment.received', refunded = 'payment.refunded',
  failed = 'payment.failed', authorized = 'payment.authorized', released = 'payment.released'}
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, again = Command.begin(zone, job_key, {bp = bp, req = req, fingerprint = fingerprint, causes = causes})
if again then return again end
if not job then return Command.not_found(job, req, fingerprint) end
local notice = {payments = payments, kind = string.match(members, '^"kind":"(%a+)"'), id = id,
  reference = reference, of = of, status = status, amount = amount, currency = currency, members = members,
  is_unsigned = must_sign == '1' and job.signed == ''}
local known = Payment.load(payments, notice.kind, reference)
local recorded = known and Payment.status_entry(known, status)
if recorded then
  if recorded.amount ~= amount or recorded.currency ~= currency or known.members ~= members then
    return Idempotency.refuse(req, fingerprint, 'DUPLICATE')
  end
  return Idempotency.answer_again(req, fingerprint, recorded.seq, job.version, job.id)
end
local charge = notice.kind == 'refund' and Payment.load(payments, 'charge', of) or nil
local why, which = PaymentReport.refusal(job, known, charge, notice)
if why then return Idempotency.refuse(req, fingerprint, why, which) end

local seq, audiences = zone.seq + 1, cjson.decode(audiences_json)
local earnings = Earnings.before_payment(job, commission)
local shown, counts, is_reversed = PaymentReport.record(zone, job, known, charge, notice)
local builder = {actor = actor}
function builder.event(kind, reason)
  return {type = kind, to = Audience.channels(audiences[kind], job), data = '{"job":' .. Job.full_json(job) ..
    ',"payment":' .. shown .. (reason and ',"why":"' .. reason .. '"' or '') ..
    (is_reversed and ',"reversed":true}' or '}')}
end
local events
if status == 'captured' then Hold.follow_report(job, notice) end
if status == 'captured' and counts then
  events = PaymentCapture.apply(zone, job, offers, cjson.decode(captures_json), shown, builder)
elseif status == 'captured' then
  events = {builder.event('payment.unexpected', 'other_currency')}
else
  local release
  if status == 'authorized' or status == 'released' or counts and (status == 'refunded' or is_reversed) then
    Job.next_version(zone, job, nil)
    release = Hold.follow_report(job, notice)
    JobRecord.save(job)
  end
  events = {builder.event(EVENTS[status], why_failed ~= '' and why_failed)}
  -- Only a job whose blueprint holds money requests the release of other authorized payments.
  if release and audiences['payment.requested'] then
    events[2] = Hold.event(job, Job.full_json(job), release, audiences['payment.requested'])
  end
end
if counts and is_reversed then
  PaymentCapture.pay_again(zone, job, offers, cjson.decode(captures_json), actor, events)
end
events[#events + 1] = Earnings.follow_payment(zone, job, earnings)
Idempotency.store(req, fingerprint, seq, job.version, job.id, Idempotency.CREATION_MS, causes)
for _, event in ipairs(events) do
  event.bp, event.actor, event.cause, event.trace = bp, actor, key .. ':' .. fingerprint, trace
  EventLog.append(zone, log, event)
end
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, job.id}
