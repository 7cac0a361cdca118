-- The effects of a command other than the change of state. They add events to those of the step.
--- @include "lib/audience"
--- @include "lib/capacity"
--- @include "lib/dispatch_index"
--- @include "lib/earnings"
--- @include "lib/hold"
--- @include "lib/job"
--- @include "lib/money"
--- @include "lib/state_entry"
--- @include "lib/step_event"
local Effects = {}

-- Returns the members of the command's own event, in addition to the job and the step.
function Effects.event_members(plan, args, kind, charge)
  if kind == 'payment.requested' then return ',"payment":' .. charge end
  if args.payment then return ',"payment":' .. args.payment end
  return plan.effect == 'reissue' and ',"changed":["codes"]' or ''
end

-- Returns the charge that the step requests, as JSON; nil or false if there is none.
function Effects.charge_request(job, plan)
  return plan.charges and Money.charge_request(job, plan.hours, plan.may_hold and Hold.load(job))
end

-- Requests `charge`, if there is one, and the refund that a step from the state `was` requests.
function Effects.request_payments(events, job, plan, shown, charge, was)
  local refund = plan.refunds and string.find(plan.refunds, ' ' .. was .. ' ', 1, true) and Money.refund_request(job)
  for _, payment in ipairs({charge or refund, charge and refund or nil}) do
    if payment then
      events[#events + 1] = {type = 'payment.requested', to = Audience.channels(plan.payment_audience, job),
        data = '{"job":' .. shown .. ',"payment":' .. payment .. '}'}
    end
  end
end

function Effects.follow_hold(events, job, plan, former, tech)
  if plan.may_hold then Hold.follow_step(events, job, plan, former, tech) end
end

function Effects.add_technician_events(events, job, plan, former, tech)
  if former then events[#events + 1] = StepEvent.technician_status(job, former, 'free', plan.tech_audience) end
  if tech then events[#events + 1] = StepEvent.technician_status(job, tech.id, 'assigned', plan.tech_audience)
  elseif not former and plan.tech_reason and job.holder ~= '' then
    events[#events + 1] = StepEvent.technician_status(job, job.holder, plan.tech_reason, plan.tech_audience)
  end
end

-- Enters the following states if a state is left at once for another. Afterwards corrects the holder's load for the
-- final state. In the phase `done` the holder earns the job's money.
function Effects.enter_following_states(zone, job, state_entry, plan, args, actor, events)
  if not state_entry then return end
  local free, next_entry = state_entry.free, state_entry.next_entry
  while next_entry do
    local from, following = job.status, StateEntry.parse(next_entry)
    local now = Job.next_version(zone, job, following)
    free, next_entry = free or following.free, following.next_entry
    if Job.is_searching(job) then DispatchIndex.reopen(zone, job, job.key .. ':offers', following.lifetime_ms) end
    local audience, brief = plan.status_audience, Audience.step_summary(job, from, plan.command)
    events[#events + 1] = {type = 'job.status', to = Audience.channels(audience, job), data = '{"job":' ..
      Job.full_json(job, now) .. StepEvent.members(job, from, plan, args, actor) .. '}',
      restricted = Audience.restricted_copies(job, audience, brief)}
  end
  if job.holder ~= '' then
    if free or job.phase == 'done' or job.phase == 'closed' then Capacity.free(zone, job)
    else Capacity.occupy_again(zone, job) end
  end
  if job.phase == 'done' and (job.row or {})[4] ~= 'done' then
    events[#events + 1] = Earnings.settle(zone, job, plan.commission)
  end
end
