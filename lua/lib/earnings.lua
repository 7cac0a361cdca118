-- What the technician of a job earns. The step into a state of the phase `done` gives them what was paid for the job and
-- not refunded; from then on each capture and refund changes it. The internal event `session.ledger` has the facts, so
-- that the archiver needs no blueprint for the ledger (engine/archive/ledger_projection.py). Customers receive other
-- events, because the commission is not theirs to read.
--   The job's field `payee` is `technician available_at`: who earned the job's money, and from when on (ms) the first of
-- it may be paid out. `commission` is the text `per_mille hold_ms` of the blueprint; nil if it has none.
--- @include "lib/job_fields"
--- @include "lib/money"
local Earnings = {}

-- Returns the fee for an amount, rounded to minor units; a half is the technician's. The whole thousands are apart,
-- because products above 2^53 would not be exact.
function Earnings.fee(amount, per_mille)
  return math.floor(amount / 1000) * per_mille + math.ceil((amount % 1000 * per_mille - 500) / 1000)
end

do
  -- `before` and `after` are what was paid for the job and not refunded. The fee is the difference of two fees of the
  -- whole, so that parts and refunds add up to the fee of what remains.
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

  -- A step has brought the job to the phase `done`: returns the event by which its holder earns the money, or nil. A job
  -- without a holder keeps its money until that is refunded.
  function Earnings.settle(zone, job, commission)
    local net = job.paid - job.refunded
    if job.holder == '' or net == 0 or redis.call('HEXISTS', job.key, 'payee') == 1 then return nil end
    local available = available_at(zone, commission)
    JobFields.set_unique(job.key, 'payee', job.holder .. ' ' .. available)
    return event_of(job, 0, net, commission, job.holder, available)
  end

  -- Returns who earned the money of a job before a payment, and what it was: the argument of `follow_payment`. Without a
  -- `payee` nothing was paid for the job when it was done: its holder earns what is paid now. Nil if nobody does.
  function Earnings.before_payment(job, commission)
    local net = job.paid - job.refunded
    local technician, first = string.match(redis.call('HGET', job.key, 'payee') or '', '^(%S+) (%d+)$')
    if not technician and job.phase == 'done' and job.holder ~= '' and net == 0 then technician = job.holder end
    return technician and {technician = technician, first = first, net = net, commission = commission} or nil
  end

  -- A payment has changed the money of a job that is done: returns the event, or nil. A refund takes back what is
  -- pending as long as the first money is pending, then what is available.
  function Earnings.follow_payment(zone, job, before)
    local net = job.paid - job.refunded
    if not before or net == before.net then return nil end
    local available = available_at(zone, before.commission)
    if not before.first then JobFields.set_unique(job.key, 'payee', before.technician .. ' ' .. available) end
    if net < before.net then available = string.format('%.0f', math.max(zone.now, before.first)) end
    return event_of(job, before.net, net, before.commission, before.technician, available)
  end
end
