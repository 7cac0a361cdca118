-- What the technician of a job earns. The step into a state of the phase `done` credits them with the amount that was
-- paid for the job and not refunded. From then on, each capture and refund changes the earnings. The internal event
-- `session.ledger` has the facts, so that the archiver needs no blueprint for the ledger
-- (engine/archive/ledger_projection.py). No client receives this event, because customers may not see the commission.
--   The job's field `payee` is `technician available_at`: the technician who earned the job's money, and the time (ms)
-- from which the first part of it may be paid out. `commission` is the text `per_mille hold_ms` of the blueprint; nil
-- if it has none.
--- @include "lib/job_fields"
--- @include "lib/money"
local Earnings = {}

-- Returns the fee for an amount, rounded to minor units; a half is rounded down, in favour of the technician. The whole
-- thousands are computed separately, because products above 2^53 would not be exact.
function Earnings.fee(amount, per_mille)
  return math.floor(amount / 1000) * per_mille + math.ceil((amount % 1000 * per_mille - 500) / 1000)
end

do
  -- `before` and `after` are the amounts that were paid for the job and not refunded, before and after the step. The
  -- fee of the step is the difference of the fees of these two amounts. Therefore the fees of all captures and refunds
  -- add up to the fee of the remaining amount.
  local function event_of(job, before, after, commission, technician, available)
    local per_mille, hold_ms = string.match(commission or '0 0', '^(%d+) (%d+)$')
    local fee = Earnings.fee(after, per_mille) - Earnings.fee(before, per_mille)
    return {type = 'session.ledger', to = '', data = '{"job":{"id":"' .. job.id .. '"},"technician":{"id":"' ..
      technician .. '"},"amount":' .. Money.text(after - before) .. ',"fee":' .. Money.text(fee) .. ',"currency":"' ..
      Money.currency(job) .. '","per_mille":' .. per_mille .. ',"hold_ms":' .. hold_ms .. ',"available_at":' ..
      available .. '}'}
  end

  local function available_at(zone, commission)
    return string.format('%d', zone.now + string.match(commission or '0 0', '%d+$'))
  end

  -- Call this when a step has brought the job to the phase `done`. Returns the event by which its holder earns the
  -- money, or nil. A job without a holder keeps its money until it is refunded.
  function Earnings.settle(zone, job, commission)
    local net = job.paid - job.refunded
    if job.holder == '' or net == 0 or redis.call('HEXISTS', job.key, 'payee') == 1 then return nil end
    local available = available_at(zone, commission)
    JobFields.set_unique(job.key, 'payee', job.holder .. ' ' .. available)
    return event_of(job, 0, net, commission, job.holder, available)
  end

  -- Returns the technician who earned the money of a job before a payment, and the amount: the argument of
  -- `follow_payment`. Without a `payee`, nothing had been paid for the job when it was done: then its holder earns what
  -- is paid now. Nil if nobody earns it.
  function Earnings.before_payment(job, commission)
    local net = job.paid - job.refunded
    local technician, first = string.match(redis.call('HGET', job.key, 'payee') or '', '^(%S+) (%d+)$')
    if not technician and job.phase == 'done' and job.holder ~= '' and net == 0 then technician = job.holder end
    return technician and {technician = technician, first = first, net = net, commission = commission} or nil
  end

  -- Call this when a payment has changed the money of a job that is done. Returns the event, or nil. A refund reduces
  -- the pending money while the first part of the money is pending, and the available money after that.
  function Earnings.follow_payment(zone, job, before)
    local net = job.paid - job.refunded
    if not before or net == before.net then return nil end
    local available = available_at(zone, before.commission)
    if not before.first then JobFields.set_unique(job.key, 'payee', before.technician .. ' ' .. available) end
    if net < before.net then available = string.format('%.0f', math.max(zone.now, before.first)) end
    return event_of(job, before.net, net, before.commission, before.technician, available)
  end
end
