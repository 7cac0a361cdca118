--[[ payment_put: what the payment service says of a payment, once per reference and status. What was captured is noted
whatever state the job is in; `captures` are the plans of the blueprint's commands for it (JSON, `[]` where it has none),
`told` who hears of which event (JSON). `members` are the payment's members that never change; `of` is the charge that a
refund is of.
KEYS    meta  job  offers  causes  payments  log  req
ARGV    epoch  actor  key  fingerprint  trace  bp  id  reference  of  status  amount  currency  members  captures  told
OK      seq  version  job_id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  DUPLICATE  FROZEN  ILLEGAL_TRANSITION  INVALID
EMITS   payment.requested  payment.received  payment.partial  payment.unexpected  payment.refunded  payment.failed  job.*  bid.closed  offer.closed  technician.status
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:user:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  {z}:disputes  {z}:dispute:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/begin"
--- @include "lib/repeat"
--- @include "lib/goal"
--- @include "lib/job"
--- @include "lib/seeking"
--- @include "lib/supply"
--- @include "lib/freeing"
--- @include "lib/offers"
--- @include "lib/closed"
--- @include "lib/audience"
--- @include "lib/append"
--- @include "lib/relation"
--- @include "lib/told"
--- @include "lib/step"
--- @include "lib/codes"
--- @include "lib/payment"
--- @include "lib/captured"
local meta, job, offers, causes, payments, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, bp, id, reference, of, status, amount, currency, members, captures, told = unpack(ARGV)
local EVENTS = {requested = 'payment.requested', captured = 'payment.received', refunded = 'payment.refunded', failed = 'payment.failed'}
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j, again = begin(z, job, {bp = bp, req = req, fingerprint = fingerprint, causes = causes})
if again then return again end
-- Not remembered: the caller puts back what SQL has of a job that was forgotten, and asks again under the same key.
if not j then return {'NOT_FOUND', '0'} end
local w = {payments = payments, kind = status == 'refunded' and 'refund' or 'charge', id = id, reference = reference,
  of = of, status = status, amount = amount, currency = currency, members = members}
local known = payment_load(payments, w.kind, reference)
local said = known and payment_said(known, status)
if said then
  if said.amount ~= amount or said.currency ~= currency or known.members ~= members then
    return refuse(req, fingerprint, 'DUPLICATE')
  end
  return as_it_was(req, fingerprint, said.seq, j.version, j.id)
end
local charge = w.kind == 'refund' and payment_load(payments, 'charge', of) or nil
local why, which = payment_refused(j, known, charge, w)
if why then return refuse(req, fingerprint, why, which) end

local seq, to = z.seq + 1, cjson.decode(told)
local shown, counts = payment_noted(z, j, known, charge, w)
local tell = {actor = actor}
function tell.event(kind, reason)
  return {type = kind, to = audience(to[kind], j), data = '{"job":' .. job_full(j) .. ',"payment":' .. shown ..
    (reason and ',"why":"' .. reason .. '"' or '') .. '}'}
end
local events
if status == 'captured' and counts then
  events = captured(z, j, offers, cjson.decode(captures), shown, tell)
elseif status == 'captured' then
  events = {tell.event('payment.unexpected', 'other_currency')}
else
  if counts and w.kind == 'refund' then
    job_move(z, j, nil)
    job_save(j)
  end
  events = {tell.event(EVENTS[status])}
end
remember(req, fingerprint, seq, j.version, j.id, 86400000, causes)
for _, event in ipairs(events) do
  event.bp, event.actor, event.cause, event.trace = bp, actor, key .. ':' .. fingerprint, trace
  append(z, log, event)
end
leave(z)
return {'OK', '0', seq, j.version, j.id}
