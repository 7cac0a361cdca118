-- Checks and records the reports of the payment service about payments.
--- @include "lib/iso"
--- @include "lib/money"
--- @include "lib/payment"
--- @include "lib/refund"
local PaymentReport = {}

-- Returns why a report cannot be recorded: the reply word and the wrong member; nil if it can be recorded. A captured
-- payment can always be recorded. A frozen job, and one that must be signed first, refuse only payment requests:
-- movements of money are recorded too.
function PaymentReport.refusal(job, known, charge, notice)
  if notice.kind == 'refund' then return Refund.refusal(known, charge, notice) end
  if notice.status == 'requested' and job.frozen ~= '' then return 'FROZEN' end
  if notice.status == 'requested' and notice.is_unsigned then return 'UNSIGNED' end
  return not Payment.may_follow(Payment.FOLLOWS, known, notice.status) and 'ILLEGAL_TRANSITION' or nil
end

-- Records the report `notice` and adds its amount to the job's sums. Returns the payment as JSON, whether the amount
-- counts in the sums, and whether it reverses a refund. The payments of a finished job expire with the job's record.
function PaymentReport.record(zone, job, known, charge, notice)
  local payment = known or {kind = notice.kind, reference = notice.reference, path = '', id = notice.id,
    created = Iso.format(zone.now), back = '0', members = notice.members}
  local counts, is_reversed = notice.status ~= 'captured' or notice.currency == Money.currency(job), false
  if notice.kind == 'refund' then counts, is_reversed = Refund.apply(job, payment, charge, notice)
  elseif notice.status == 'captured' and counts then job.paid = Money.text(job.paid + notice.amount) end
  payment.path = payment.path .. (payment.path ~= '' and ',' or '') ..
    table.concat({notice.status, Money.text(zone.seq + 1), notice.amount, notice.currency}, ':') ..
    (counts and '' or ':-')
  Payment.save(notice.payments, payment)
  Money.save(job)
  local left = redis.call('TTL', job.key)
  if left > 0 then redis.call('EXPIRE', notice.payments, left) end
  return '{"id":"' .. payment.id .. '",' .. Payment.shown_members(payment, notice.status) .. ',"status":"' ..
    notice.status .. '","amount":' .. notice.amount .. ',"currency":"' .. notice.currency .. '","created_at":' ..
    payment.created .. '}', counts, is_reversed
end
