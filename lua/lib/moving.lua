--- @include "lib/dispute"
--- @include "lib/outbid"
--- @include "lib/money"
-- What a step does to the job, and the events that tell of it, in order. Nothing here can refuse any more.

local function moving(z, j, offers, p, a, actor)
  local goal, former, told = goal_parse(p.goal), nil, seeks(j) and offers_open(z, redis.call('HGETALL', offers), '') or {}
  local was, mode = j.status, j.mode
  if p.does == 'release' then
    former = j.holder
    holder_left(z, j, offers)
    j.holder, j.card, j.claimed = '', '', ''
    code_anew(j)
  end
  local sought = seeks(j) and not former
  local now = job_move(z, j, goal)
  if p.marks ~= '' then job_mark(j, p.marks, now) end
  local dispute = p.does == 'freeze' and dispute_opened(z, j, a, now) or p.does == 'thaw' and dispute_resolved(z, j, a, now)
  if p.locks_price then redis.call('HSET', j.key, 'price_locked', '1') end
  local stays = sought and seeks(j) and j.status == was
  if sought and not stays then seeking_ends(z, j, mode) end
  if seeks(j) and not stays then seeking_again(z, j, offers, goal.life) end
  local shown = job_full(j, now)
  local data, kind, to = '{"job":' .. shown .. step_told(j, was, p, a, actor), p.event, p.told
  local charge = p.charges and charge_asked(j, p.hours)
  -- Where all is paid already, nothing is asked for: a step that is told by asking is told as any other.
  if kind == 'payment.requested' and not charge then kind, to = 'job.status', p.on_told end
  if kind == 'payment.requested' then
    data = data .. ',"payment":' .. charge
  elseif a.payment then data = data .. ',"payment":' .. a.payment
  elseif dispute then data = data .. ',"dispute":' .. dispute
  elseif p.does == 'reissue' then data = data .. ',"changed":["codes"]' end
  if p.event == 'job.accepted' or p.event == 'job.assigned' then
    data = data .. (j.card ~= '' and ',"technician":' .. j.card or '')
  end
  if former then data = data .. ',"former":{"id":"' .. former .. '"}' end
  local events = {{type = kind, to = audience(to, j, former), data = data .. '}', shown = shown}}
  if sought and not stays and #told > 0 then events[2] = offers_over(j, told, p.closing) end
  if sought and not stays then bids_close(events, j, mode, j.phase == 'closed' and p.closing or 'closed', p.bids_told) end
  if former then bid_lapse(events, j, former, p.bids_told) end
  local function ask(payment)
    if payment then
      events[#events + 1] = {type = 'payment.requested', to = audience(p.paid, j, former),
        data = '{"job":' .. shown .. ',"payment":' .. payment .. '}'}
    end
  end
  if kind ~= 'payment.requested' then ask(charge) end
  if string.find(p.refunds, ' ' .. was .. ' ', 1, true) then ask(refund_asked(j)) end
  if p.tech_told ~= '' and (former or p.tech_reason ~= '' and j.holder ~= '') then
    events[#events + 1] = tech_moved(j, former or j.holder, former and 'free' or p.tech_reason, p.tech_told)
  end
  local free, on = goal and goal.free, goal and goal.on
  while on do
    local from, following = j.status, goal_parse(on)
    now, free, on = job_move(z, j, following), free or following.free, following.on
    if seeks(j) then seeking_again(z, j, offers, following.life) end
    events[#events + 1] = {type = 'job.status', to = audience(p.on_told, j), data = '{"job":' .. job_full(j, now) ..
      step_told(j, from, p, a, actor) .. '}'}
  end
  local over = free or j.phase == 'done' or j.phase == 'closed'
  if goal and j.holder ~= '' then (over and holder_free or holder_back)(z, j) end
  job_save(j)
  -- What was captured before it could pay the job: the payment was told then, so that this is told as a step.
  for _, capture in ipairs(p.captures or {}) do
    if capture_due(j, capture) then
      j.last = p.command .. ' ' .. actor .. ' ' .. money_text(z.seq + #events + 1)
      capture.event, capture.told = 'job.status', capture.on_told
      for _, event in ipairs(moving(z, j, offers, capture, {}, actor)) do events[#events + 1] = event end
      break
    end
  end
  return events
end
