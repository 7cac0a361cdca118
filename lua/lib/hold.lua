-- The hold of a job: an amount that the customer's bank reserves until the work is done. The field `hold` of the job's
-- hash is `id amount reference`: the id and the amount of the request, and the payment service's reference as JSON,
-- which is `-` until the service reports the hold as authorized. A job has at most one hold. Every other authorized
-- payment is released immediately.
--- @include "lib/audience"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/money"
local Hold = {}

function Hold.load(job)
  local text = redis.call('HGET', job.key, 'hold')
  local id, amount, reference = string.match(text or '', '^(%S+) (%d+) (.+)$')
  return id and {id = id, amount = tonumber(amount), reference = reference ~= '-' and reference or nil} or nil
end

function Hold.save(job, hold)
  JobFields.set(job.key, 'hold', hold.id .. ' ' .. Money.text(hold.amount) .. ' ' .. (hold.reference or '-'))
end

-- Returns the request to release an authorized payment, as JSON.
function Hold.release_request(job, hold)
  return (Money.payment_request(job, 'release', hold.amount, hold))
end

-- Ends the job's hold. Returns the request to release it. Returns nil if the hold is not authorized yet: if it is
-- authorized later, it is released then.
function Hold.drop(job, hold)
  JobFields.remove(job.key, 'hold')
  return hold.reference and Hold.release_request(job, hold) or nil
end

-- Returns the amount to hold: the agreed amount (of an hourly job, the rate of one hour) less what is already paid.
function Hold.agreed_amount(job) return math.max(0, job.amount - Money.balance(job)) end

-- Creates the request for a hold. Returns nil if there is nothing to hold.
function Hold.request(job)
  local amount = Hold.agreed_amount(job)
  local request, id = Money.payment_request(job, 'hold', amount)
  Hold.save(job, {id = id, amount = amount})
  return amount > 0 and request or nil
end

function Hold.event(job, shown, payment, words)
  return {type = 'payment.requested', to = Audience.channels(words, job),
    data = '{"job":' .. shown .. ',"payment":' .. payment .. '}'}
end

-- Adds the events of the payment requests that follow from a step. The hold is released when the holder leaves and when
-- the job ends. A new hold is requested when a technician becomes the holder by a command that holds money
-- (`plan.holds`). A charge replaces a hold that is not authorized yet.
function Hold.follow_step(events, job, plan, former, tech)
  local hold = Hold.load(job)
  local ends = former or plan.holds or job.holder == '' or job.phase == 'done' or job.phase == 'closed'
    or plan.charges and hold and not hold.reference
  local requests = {hold and ends and Hold.drop(job, hold) or nil}
  if plan.holds and tech then requests[#requests + 1] = Hold.request(job) end
  if #requests == 0 then return end
  local shown = Job.full_json(job)
  for _, request in ipairs(requests) do events[#events + 1] = Hold.event(job, shown, request, plan.payment_audience) end
end

-- Requests another hold if the accepted price changes the amount to hold. Returns the events; none if the job has no
-- hold.
function Hold.follow_price(job, words)
  local hold, events = Hold.load(job), {}
  if not hold or hold.amount == Hold.agreed_amount(job) then return events end
  local shown = Job.full_json(job)
  local released = Hold.drop(job, hold)
  if released then events[1] = Hold.event(job, shown, released, words) end
  local asked = Hold.request(job)
  if asked then events[#events + 1] = Hold.event(job, shown, asked, words) end
  return events
end

-- Updates the job's hold after a report of the payment service. Returns the request to release the payment if it is
-- authorized and is not the job's hold; otherwise nil.
function Hold.follow_report(job, notice)
  local hold, reference = Hold.load(job), string.match(notice.members, '"reference":(.*)$')
  if notice.status == 'authorized' then
    if hold and not hold.reference and hold.amount == tonumber(notice.amount)
        and notice.currency == Money.currency(job) then
      hold.reference = reference
      Hold.save(job, hold)
      return nil
    end
    return Hold.release_request(job, {reference = reference, amount = notice.amount, currency = notice.currency})
  end
  local ends = notice.status == 'released' or notice.status == 'captured'
  if hold and ends and hold.reference == reference then JobFields.remove(job.key, 'hold') end
  return nil
end
