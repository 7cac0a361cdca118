-- The effect of a captured amount in the job's currency. The amount is recorded already and is never refused. The job
-- changes its state if its blueprint has a command for captured payments (`captures`). An amount that triggers no
-- command is reported as an event.
--- @include "lib/apply_step"
--- @include "lib/job"
--- @include "lib/job_record"
--- @include "lib/money"
local PaymentCapture = {}

-- Returns why ops must check a captured amount, or nil: the job is over, its former state `was` awaits no payment, or
-- more than the price was paid.
function PaymentCapture.unexpected_reason(job, captures, was, over)
  local awaited = false
  for _, plan in ipairs(captures) do awaited = awaited or string.find(plan.from, ' ' .. was .. ' ', 1, true) ~= nil end
  if over then return 'job_over' end
  if not awaited then return 'not_awaited' end
  return Money.balance(job) > Money.price(job, captures[1].hours) and 'surplus' or nil
end

-- Returns the events. `builder.event` makes an event of a type.
function PaymentCapture.apply(zone, job, offers, captures, shown, builder)
  local due, was, over = nil, job.status, job.phase == 'done' or job.phase == 'closed'
  for _, plan in ipairs(captures) do due = due or Money.is_capture_due(job, plan) and plan end
  local events
  if due then
    events = ApplyStep.run(zone, job, offers, due, {payment = shown}, builder.actor)
  else
    Job.next_version(zone, job, nil)
    JobRecord.save(job)
    events = {builder.event('payment.received')}
  end
  if #captures == 0 then return events end
  if not over and Money.balance(job) < Money.price(job, captures[1].hours) then
    events[#events + 1] = builder.event('payment.partial')
  end
  local why = PaymentCapture.unexpected_reason(job, captures, was, over)
  if why then events[#events + 1] = builder.event('payment.unexpected', why) end
  return events
end

-- Call this when amounts that were captured before may cover the price only now: a refund has failed, so that its
-- amount pays for the job again, or the price has changed. Takes the command for captured payments if that is possible,
-- and appends its events to `events`; the capture itself was reported before. Returns the first of them, or nil.
function PaymentCapture.pay_again(zone, job, offers, captures, actor, events)
  for _, plan in ipairs(captures) do
    if Money.is_capture_due(job, plan) then
      plan.event, plan.audience = 'job.status', plan.status_audience
      local later = ApplyStep.run(zone, job, offers, plan, {is_same_script = true}, actor)
      for _, event in ipairs(later) do events[#events + 1] = event end
      return later[1]
    end
  end
end
