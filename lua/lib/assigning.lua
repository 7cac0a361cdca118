--- @include "lib/outbid"
-- A named technician becomes the holder, in place of the present one if there is one, and the events that tell of it.
-- The caller has checked that he may.
local function assigning(z, j, offers, t, p, a, actor)
  local was, mode, goal, former = j.status, j.mode, goal_parse(p.goal), j.holder
  local told = former == '' and j.phase == 'open' and offers_open(z, redis.call('HGETALL', offers), t.id) or {}
  local events = {}
  if former ~= '' then
    holder_left(z, j, offers)
    code_anew(j)
  elseif seeks(j) then seeking_ends(z, j, mode) end
  holder_take(z, j, t)
  j.claimed = ''
  local now = job_move(z, j, goal)
  local shown = job_full(j, now)
  local to = audience(p.told, j)
  if former ~= '' then
    events[1] = {type = 'job.unassigned', to = audience(p.left_told, j, former), data = '{"job":' .. shown ..
      step_told(j, was, p, a, actor) .. ',"former":{"id":"' .. former .. '"}}', shown = shown}
  end
  events[#events + 1] = {type = p.event, to = to, shown = shown, data = '{"job":' .. shown .. ',"technician":' ..
    j.card .. step_told(j, was, p, a, actor) .. '}'}
  if #told > 0 then events[#events + 1] = offer_closed(j, told, 'taken', 'Booking already taken') end
  if former ~= '' then bid_lapse(events, j, former, p.bids_told)
  else bids_close(events, j, mode, p.does == 'award' and 'declined' or 'taken', p.bids_told) end
  if p.tech_told ~= '' then
    if former ~= '' then events[#events + 1] = tech_moved(j, former, 'free', p.tech_told) end
    events[#events + 1] = tech_moved(j, t.id, 'assigned', p.tech_told)
  end
  job_save(j)
  return events
end
