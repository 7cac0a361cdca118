-- The price of a job and the money paid for it, both in the job's currency and in minor units. `paid` and `refunded`
-- are sums over the job's payments. `back` is the sum of refunds that a step requested and that were not made yet:
-- that money does not pay for the job any more.
--- @include "lib/cost"
--- @include "lib/job_fields"
--- @include "lib/step"
local Money = {}

function Money.currency(job) return string.match(job.full, '"currency":"(%u+)"') or '' end

function Money.price(job, hours) return tonumber(Cost.amount(job, hours[1], hours[2])) end
function Money.balance(job) return job.paid - job.refunded - job.back end
function Money.text(amount) return string.format('%.0f', amount) end

function Money.save(job)
  JobFields.set(job.key, 'paid', job.paid, 'refunded', job.refunded, 'asked_back', job.back)
end

-- From now on nobody may propose another price.
function Money.lock_price(job) JobFields.set(job.key, 'price_locked', '1') end

-- Returns a payment request (a charge, a refund, a hold or a release), and its id. `hold` is the authorized payment
-- that is charged or released: its `reference` as JSON, which the payment service chose, the held `amount`, and its
-- `currency` if that may differ from the job's.
function Money.payment_request(job, kind, amount, hold)
  local id = 'pay_' .. string.match(job.id, '[^_]*$') .. '_' .. job.version .. (kind ~= 'charge' and '_' .. kind or '')
  return '{"id":"' .. id .. '","kind":"' .. kind .. '","status":"requested","amount":' .. Money.text(amount) ..
    ',"currency":"' .. (hold and hold.currency or Money.currency(job)) .. '"' ..
    (hold and ',"of":' .. hold.reference .. ',"held":' .. Money.text(hold.amount) or '') .. '}', id
end

-- Returns a request for the amount that is still to be paid; nil if everything is paid. The request names the job's
-- `hold` if that is authorized: the amount may be more than is held.
function Money.charge_request(job, hours, hold)
  local amount = Money.price(job, hours) - Money.balance(job)
  return amount > 0 and Money.payment_request(job, 'charge', amount, hold and hold.reference and hold) or nil
end

-- Returns a refund request for the amount that was paid and not refunded; nil if this amount is 0.
function Money.refund_request(job)
  local amount = Money.balance(job)
  if amount <= 0 then return nil end
  job.back = Money.text(job.back + amount)
  Money.save(job)
  return Money.payment_request(job, 'refund', amount)
end

-- Returns whether a command for a captured payment is possible now: the blueprint allows it, and the balance covers the
-- price. If the customer signs the job (`after_signature`), the job is signed.
function Money.is_capture_due(job, plan)
  return job.frozen == '' and (not plan.after_signature or job.signed ~= '') and Step.allows_state(job, plan, nil)
    and Step.allows_marks(job, plan) and Money.balance(job) >= Money.price(job, plan.hours)
end
