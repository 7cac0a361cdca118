--[[ payment_put: what the payment service says of a payment, once per reference and status. One that is captured moves
the job by the command that its blueprint has for that (`plan`, '' where it has none). `told` are the payment's members
that never change, as JSON; the record is `<status>:<seq>,… <amount> <currency> <payment>`.
KEYS    meta  job  offers  causes  payments  log  req
ARGV    epoch  actor  key  fingerprint  trace  bp  id  reference  status  amount  currency  told  plan  audience_of
OK      seq  version  job_id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  FROZEN  DUPLICATE  ILLEGAL_TRANSITION  CANCELLED  EXPIRED  VERSION_CONFLICT
EMITS   payment.requested  payment.received  payment.refunded  payment.failed  job.*  bid.closed  offer.closed  technician.status
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:user:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  {z}:disputes  {z}:dispute:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
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
--- @include "lib/hours"
--- @include "lib/step"
--- @include "lib/codes"
--- @include "lib/moving"
--- @include "lib/payment"
local meta, job, offers, causes, payments, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, bp, id, reference, status, amount, currency, told, plan, audience_of = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local again = remembered(req, fingerprint, causes)
if again then return again end
local j, p = job_load(job), plan ~= '' and cjson.decode(plan) or nil
if not j then return refuse(req, fingerprint, 'NOT_FOUND') end
local known = payment_load(payments, reference)
if known and (known.amount ~= amount or known.currency ~= currency) then return refuse(req, fingerprint, 'DUPLICATE') end
local first = known and payment_seq(known, status)
if first then return as_it_was(req, fingerprint, first, j.version, j.id) end
if j.frozen ~= '' then return refuse(req, fingerprint, 'FROZEN') end
if not payment_follows(known, status) then return refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
local why = p and step_refused(j, p, actor, '')
if why then return refuse(req, fingerprint, why) end

local seq = z.seq + 1
local shown = payment_noted(z, job, payments, reference, known or {path = '', id = id, amount = amount, currency = currency,
  created = iso(z.now), told = told}, status)
local events
if p then
  j.last = p.command .. ' ' .. actor .. ' ' .. string.format('%.0f', seq)
  events = moving(z, j, offers, p, {payment = shown}, actor)
else
  events = {{type = payment_event(status), to = audience(audience_of, j), data = '{"job":' .. job_full(j) .. ',"payment":' .. shown .. '}'}}
end
remember(req, fingerprint, seq, j.version, j.id, 86400000, causes)
for _, event in ipairs(events) do
  event.bp, event.actor, event.cause, event.trace = bp, actor, key .. ':' .. fingerprint, trace
  append(z, log, event)
end
leave(z)
return {'OK', '0', seq, j.version, j.id}
