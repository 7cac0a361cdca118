--- @include "lib/told"
-- What a command does beside its move, as events added to those of the step.

-- What the command's own event tells beside the job and the step.
local function step_more(p, a, kind, charge)
  if kind == 'payment.requested' then return ',"payment":' .. charge end
  if a.payment then return ',"payment":' .. a.payment end
  return p.does == 'reissue' and ',"changed":["codes"]' or ''
end

-- `charge` and `refund` are what is asked for; nil or false where nothing is.
local function payments_asked(events, j, p, shown, charge, refund)
  for _, payment in ipairs({charge or refund, charge and refund or nil}) do
    if payment then
      events[#events + 1] = {type = 'payment.requested', to = audience(p.paid, j),
        data = '{"job":' .. shown .. ',"payment":' .. payment .. '}'}
    end
  end
end

local function techs_moved(events, j, p, former, t)
  if former then events[#events + 1] = tech_moved(j, former, 'free', p.tech_told) end
  if t then events[#events + 1] = tech_moved(j, t.id, 'assigned', p.tech_told)
  elseif not former and p.tech_reason and j.holder ~= '' then
    events[#events + 1] = tech_moved(j, j.holder, p.tech_reason, p.tech_told)
  end
end

-- Where a state passes on at once; then the holder is as busy as the job's state says.
local function going_on(z, j, goal, p, a, actor, events)
  if not goal then return end
  local free, on = goal.free, goal.on
  while on do
    local from, following = j.status, goal_parse(on)
    local now = job_move(z, j, following)
    free, on = free or following.free, following.on
    if seeks(j) then seeking_again(z, j, j.key .. ':offers', following.life) end
    events[#events + 1] = {type = 'job.status', to = audience(p.on_told, j), data = '{"job":' .. job_full(j, now) ..
      step_told(j, from, p, a, actor) .. '}', apart = apart(j, p.on_told, step_apart(j, from, p.command))}
  end
  if j.holder ~= '' then
    if free or j.phase == 'done' or j.phase == 'closed' then holder_free(z, j) else holder_back(z, j) end
  end
end
