-- Applies a step to the job, for every kind of command, and returns its events in order. All checks are done before: no
-- refusal is possible here. `plan` is the plan of the command, without the members that the command does not declare.
-- `tech` gets the job and replaces the present holder. `args.is_same_script`: this script applied a step before.
--- @include "lib/audience"
--- @include "lib/bid_close"
--- @include "lib/capacity"
--- @include "lib/codes"
--- @include "lib/dispatch_index"
--- @include "lib/dispute"
--- @include "lib/effects"
--- @include "lib/holder"
--- @include "lib/job"
--- @include "lib/job_record"
--- @include "lib/mediation"
--- @include "lib/money"
--- @include "lib/offer_closure"
--- @include "lib/room_step"
--- @include "lib/signature"
--- @include "lib/state_entry"
--- @include "lib/step_event"
--- @include "lib/tracking"
local ApplyStep = {}

function ApplyStep.run(zone, job, offers, plan, args, actor, tech)
  local state_entry = StateEntry.parse(plan.state_entry)
  local was, mode, was_searching, former = job.status, job.mode, Job.is_searching(job), nil
  local postponed = job.closing ~= '' and not args.is_same_script and OfferClosure.take_postponed(job, offers)
  if (tech or plan.effect == 'release') and job.holder ~= '' then
    former = job.holder
    Capacity.remove_holder(zone, job, offers)
    job.holder, job.card = '', ''
    Codes.next_issue(job)
  end
  if tech then Holder.assign(zone, job, tech) end
  local now, seq = Job.next_version(zone, job, state_entry), zone.seq + 1
  RoomStep.assign_id(job, plan.room)
  if tech or former then job.claimed = plan.effect == 'take' and seq .. ' ' .. job.version or '' end
  job.last = plan.command .. ' ' .. actor .. ' ' .. seq
  if plan.marks then Job.set_mark(job, plan.marks, now) end
  local dispute = plan.effect == 'freeze' and Dispute.open(zone, job, args, now) or plan.effect == 'thaw'
    and Dispute.resolve(zone, job, args, now)
  local receipt = Signature.apply(job, plan, args.signature, now)
  -- A technician who refuses was the only one asked: the search starts again, although the state stays the same.
  local search_continues = was_searching and Job.is_searching(job) and job.status == was and plan.effect ~= 'refuse'
  local search_ends, closure = was_searching and not search_continues, nil
  if search_ends then
    DispatchIndex.remove(zone, job, mode)
    closure = OfferClosure.close_all(zone, job, offers, args.offers, tech, plan.closing)
  end
  if Job.is_searching(job) and not search_continues then
    DispatchIndex.reopen(zone, job, offers, state_entry and state_entry.lifetime_ms or 0)
  end
  local shown, events, kind, audience = Job.full_json(job, now), {}, plan.event, plan.audience
  local charge = Effects.charge_request(job, plan)
  -- If everything is paid already, no payment is requested: the step's event is then a plain status event.
  if kind == 'payment.requested' and not charge then kind, audience = 'job.status', plan.status_audience end
  local step_members = StepEvent.members(job, was, plan, args, actor)
  local members_with_former = step_members .. (former and ',"former":{"id":"' .. former .. '"}' or '')
  local summary = Audience.step_summary(job, was, plan.command)
  if tech and former then
    events[1] = {type = 'job.unassigned', to = Audience.channels(plan.unassigned_audience, job), shown = shown,
      data = '{"job":' .. shown .. members_with_former .. '}',
      restricted = Audience.restricted_copies(job, plan.unassigned_audience, summary, former, members_with_former)}
  end
  local effect_members = dispute and ',"dispute":' .. dispute or Effects.event_members(plan, args, kind, charge)
  local names_technician = (tech or plan.event == 'job.accepted' or plan.event == 'job.assigned') and job.card ~= ''
  local technician_member = names_technician and ',"technician":' .. job.card or ''
  events[#events + 1] = {type = kind, to = Audience.channels(audience, job), shown = shown,
    data = '{"job":' .. shown .. technician_member .. (tech and step_members or members_with_former) ..
      effect_members .. receipt .. (job.closing ~= '' and ',"offers_closing":true}' or '}'),
    restricted = Audience.restricted_copies(job, audience, technician_member .. summary, not tech and former or nil,
      members_with_former)}
  if postponed then events[#events + 1] = postponed end
  if closure then events[#events + 1] = closure end
  if search_ends then
    BidClose.close_all(events, job, mode, plan.effect == 'award' and 'declined' or tech and 'taken'
      or job.phase == 'closed' and plan.closing or 'closed', plan.bids_audience)
  end
  if former then BidClose.lapse(events, job, former, plan.bids_audience) end
  Effects.request_payments(events, job, plan, shown, kind ~= 'payment.requested' and charge, was)
  if plan.tech_audience then Effects.add_technician_events(events, job, plan, former, tech) end
  -- If a technician gets the job, the job does not enter following states at once: the technician holds the job first.
  if not tech then Effects.enter_following_states(zone, job, state_entry, plan, args, actor, events) end
  if state_entry or tech then Tracking.update(zone, job) end
  Mediation.follow(zone, job, plan, args, former, events)
  Effects.follow_hold(events, job, plan, former, tech)
  JobRecord.save(job)
  -- A payment that was captured earlier may pay for the job only now.
  for _, capture in ipairs(plan.captures or {}) do
    if Money.is_capture_due(job, capture) then
      local last = job.last
      local later = ApplyStep.run(zone, job, offers, capture, {is_same_script = true}, actor)
      for _, event in ipairs(later) do events[#events + 1] = event end
      job.last, later[1].answers = last, plan
      JobRecord.save(job)
      break
    end
  end
  return events
end
