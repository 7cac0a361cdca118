--- @include "lib/moving"
--- @include "lib/money"
-- What the job makes of a captured amount in its currency. The amount is noted already and is never refused: the job
-- moves if its blueprint can (`captures` are its commands for that), and what it could not use is told besides.
local function captured_surprise(j, captures, was, over)
  local awaited = false
  for _, p in ipairs(captures) do awaited = awaited or string.find(p.from, ' ' .. was .. ' ', 1, true) ~= nil end
  if over then return 'job_over' end
  if not awaited then return 'not_awaited' end
  return money_kept(j) > money_asked(j, captures[1].hours) and 'surplus' or nil
end

-- The events that tell of it; `tell` makes one of a type.
local function captured(z, j, offers, captures, shown, tell)
  local due, was, over = nil, j.status, j.phase == 'done' or j.phase == 'closed'
  for _, p in ipairs(captures) do due = due or capture_due(j, p) and p end
  local events
  if due then
    j.last = due.command .. ' ' .. tell.actor .. ' ' .. money_text(z.seq + 1)
    events = moving(z, j, offers, due, {payment = shown}, tell.actor)
  else
    job_move(z, j, nil)
    job_save(j)
    events = {tell.event('payment.received')}
  end
  if #captures == 0 then return events end
  if not over and money_kept(j) < money_asked(j, captures[1].hours) then events[#events + 1] = tell.event('payment.partial') end
  local why = captured_surprise(j, captures, was, over)
  if why then events[#events + 1] = tell.event('payment.unexpected', why) end
  return events
end
