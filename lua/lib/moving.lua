--- @include "lib/begin"
--- @include "lib/goal"
--- @include "lib/seeking"
--- @include "lib/supply"
--- @include "lib/freeing"
--- @include "lib/holder"
--- @include "lib/offers"
--- @include "lib/closed"
--- @include "lib/codes"
--- @include "lib/relation"
--- @include "lib/step"
--- @include "lib/dispute"
--- @include "lib/effects"
--- @include "lib/outbid"
--- @include "lib/money"
-- What a step does to the job, of whatever kind it is, and the events that tell of it, in order. Nothing here can
-- refuse any more. `p` is the plan; what its command does not declare is nil. `t` is the technician whom it gives the
-- job, in place of the present holder if there is one.

local function moving(z, j, offers, p, a, actor, t)
  local goal, was, mode, sought, former = goal_parse(p.goal), j.status, j.mode, seeks(j), nil
  local open = sought and offers_open(z, a.offers or redis.call('HGETALL', offers), t and t.id or '') or {}
  if (t or p.does == 'release') and j.holder ~= '' then
    former = j.holder
    holder_left(z, j, offers)
    j.holder, j.card = '', ''
    code_anew(j)
  end
  if t then holder_take(z, j, t) end
  local now = job_move(z, j, goal)
  local seq = string.format('%.0f', z.seq + 1)
  if t or former then j.claimed = p.does == 'take' and seq .. ' ' .. j.version or '' end
  j.last = p.command .. ' ' .. actor .. ' ' .. seq
  if p.marks then job_mark(j, p.marks, now) end
  local dispute = p.does == 'freeze' and dispute_opened(z, j, a, now) or p.does == 'thaw' and dispute_resolved(z, j, a, now)
  if p.locks_price then redis.call('HSET', j.key, 'price_locked', '1') end
  -- Who refuses was asked alone: though the state stays, it is looked for anew.
  local stays = sought and seeks(j) and j.status == was and p.does ~= 'refuse'
  local ends = sought and not stays
  if ends then seeking_ends(z, j, mode) end
  if seeks(j) and not stays then seeking_again(z, j, offers, goal and goal.life or 0) end
  local shown, events, kind, to = job_full(j, now), {}, p.event, p.told
  local charge = p.charges and charge_asked(j, p.hours)
  -- Where all is paid already, nothing is asked for: a step that is told by asking is told as any other.
  if kind == 'payment.requested' and not charge then kind, to = 'job.status', p.on_told end
  local step = step_told(j, was, p, a, actor)
  local left, brief = step .. (former and ',"former":{"id":"' .. former .. '"}' or ''), step_apart(j, was, p.command)
  if t and former then
    events[1] = {type = 'job.unassigned', to = audience(p.left_told, j), shown = shown,
      data = '{"job":' .. shown .. left .. '}', apart = apart(j, p.left_told, brief, former, left)}
  end
  local more = dispute and ',"dispute":' .. dispute or step_more(p, a, kind, charge)
  local card = (t or p.event == 'job.accepted' or p.event == 'job.assigned') and j.card ~= ''
  local whom = card and ',"technician":' .. j.card or ''
  events[#events + 1] = {type = kind, to = audience(to, j), shown = shown, data = '{"job":' .. shown .. whom ..
    (t and step or left) .. more .. '}', apart = apart(j, to, whom .. brief, not t and former or nil, left)}
  if ends and #open > 0 then
    events[#events + 1] = t and offer_closed(j, open, 'taken', 'Booking already taken') or offers_over(j, open, p.closing)
  end
  if ends then
    bids_close(events, j, mode, p.does == 'award' and 'declined' or t and 'taken' or j.phase == 'closed' and p.closing
      or 'closed', p.bids_told)
  end
  if former then bid_lapse(events, j, former, p.bids_told) end
  payments_asked(events, j, p, shown, kind ~= 'payment.requested' and charge,
    p.refunds and string.find(p.refunds, ' ' .. was .. ' ', 1, true) and refund_asked(j))
  if p.tech_told then techs_moved(events, j, p, former, t) end
  if not t then going_on(z, j, goal, p, a, actor, events) end -- who has been given a job has it for now
  job_save(j)
  -- What was captured before it could pay the job: the payment was told then, so that this is told as a step.
  for _, capture in ipairs(p.captures or {}) do
    if capture_due(j, capture) then
      local last = j.last
      capture.event, capture.told = 'job.status', capture.on_told
      local later = moving(z, j, offers, capture, {}, actor)
      for _, event in ipairs(later) do events[#events + 1] = event end
      j.last, later[1].answers = last, p
      job_save(j)
      break
    end
  end
  return events
end
