-- Refunds of a job's charges (lib/payment has their records). A refund that was made may be reported as failed later:
-- then it is reversed, and no further refund with this reference is recorded.
--- @include "lib/money"
--- @include "lib/payment"
local Refund = {}

-- Which member of a refused refund is wrong; engine/domain/payments.py has the same numbers.
Refund.AMOUNT, Refund.CURRENCY, Refund.OF, Refund.REFERENCE = 1, 2, 3, 4

-- Returns why a report cannot be recorded: the reply word and the wrong member (`OF` also if the charge is not captured
-- yet, so that the report can be repeated later). Returns nil if it can be recorded. `charge` may be nil.
function Refund.refusal(known, charge, notice)
  if known and known.members ~= notice.members then return 'DUPLICATE' end
  if not Payment.may_follow(Payment.REFUND_FOLLOWS, known, notice.status) then return 'ILLEGAL_TRANSITION' end
  if notice.status == 'failed' then
    local made = known and Payment.status_entry(known, 'refunded')
    local is_other = made and (made.amount ~= notice.amount or made.currency ~= notice.currency)
    return is_other and 'DUPLICATE' or nil
  end
  local own = notice.of ~= notice.reference
  if not charge then return own and 'INVALID' or 'ILLEGAL_TRANSITION', Refund.OF end
  local captured = Payment.status_entry(charge, 'captured')
  if not captured then return 'ILLEGAL_TRANSITION', Refund.OF end
  if own and Payment.load(notice.payments, 'charge', notice.reference) then return 'INVALID', Refund.REFERENCE end
  if captured.currency ~= notice.currency then return 'INVALID', Refund.CURRENCY end
  if charge.back + notice.amount > tonumber(captured.amount) then return 'INVALID', Refund.AMOUNT end
  return nil
end

-- Updates the records of the charge and of the `refund` and the job's sums by a report. Returns whether the charge
-- counts in the sums, and whether the report reverses a refund that was made. A refund counts if its charge counted,
-- because the job's currency may have changed afterwards.
function Refund.apply(job, refund, charge, notice)
  local captured, amount = charge and Payment.status_entry(charge, 'captured'), tonumber(notice.amount)
  local counts, is_reversed = captured ~= nil and captured.counts, false
  if notice.status == 'refunded' then
    charge.back = Money.text(charge.back + amount)
    if counts then
      refund.back = Money.text(math.min(tonumber(job.back), amount))
      job.refunded, job.back = Money.text(job.refunded + amount), Money.text(job.back - refund.back)
    end
  elseif Payment.status_entry(refund, 'refunded') then
    is_reversed, charge.back = true, Money.text(charge.back - amount)
    if counts then  -- what a step had requested back is owed again
      job.refunded, job.back = Money.text(job.refunded - amount), Money.text(job.back + refund.back)
      refund.back = '0'
    end
  end
  if charge then Payment.save(notice.payments, charge) end
  return counts, is_reversed
end
