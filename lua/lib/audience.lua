--- @include "lib/public"
-- The channels of a blueprint's words that are roles, without `apart_word`.
local function roles(words, apart_word)
  local to = {}
  for word in string.gmatch(words, '%S+') do
    if word == 'customers' then to[#to + 1] = 'role:customer'
    elseif word ~= apart_word and word ~= 'customer' and word ~= 'holder' and word ~= 'technicians' then to[#to + 1] = 'role:' .. word end
  end
  return table.concat(to, ' ')
end

local function has_word(words, word) return string.find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) ~= nil end

-- Who hears of an event about a job: the blueprint's words (`customer holder ops`) become channels here, in the step
-- itself, so that an event is addressed to those concerned at that instant and to nobody else. Whoever may not see the
-- whole job gets an event of their own (`apart`): the holder who is merely asked, the former one, technicians at large,
-- and mediators, of whom any may settle a dispute: whose it becomes reads the job, and `dispute` names it to all.
-- `job:<id>` is for watchers, and holds only what both sides of the job hear.
local function audience(words, j)
  local to, both = roles(words, 'mediator'), j.holder == '' or has_word(words, 'holder')
  if has_word(words, 'holder') and j.holder ~= '' and j.unaccepted ~= '1' then to = 'user:' .. j.holder .. ' ' .. to end
  if has_word(words, 'customer') then to = 'user:' .. j.customer .. ' ' .. to .. (both and ' job:' .. j.id or '') end
  return to
end

-- The same event for those who see the public part alone, as {to, data}; `members` is what stands beside the job, `left`
-- beside it for the former holder. Those who may take the job hear of it until somebody has it; `work:` stands alone in
-- an event's `to` (server/ws/hub.py relies on it).
local function apart(j, words, members, former, left)
  local events = {}
  if former and former ~= '' and former ~= j.holder and has_word(words, 'holder') then
    events[1] = {'user:' .. former, '{"job":' .. job_public(j) .. (left or members) .. '}'}
  end
  if j.holder ~= '' and j.unaccepted == '1' and has_word(words, 'holder') then
    events[#events + 1] = {'user:' .. j.holder, '{"job":' .. job_public(j, j.card) .. members .. '}'}
  end
  if j.holder == '' and has_word(words, 'technicians') then
    events[#events + 1] = {'work:' .. j.service, '{"job":' .. job_public(j) .. members .. '}'}
  end
  if has_word(words, 'mediator') then
    local dispute = j.dispute and ',"dispute":' .. j.dispute or ''
    events[#events + 1] = {'role:mediator', '{"job":' .. job_public(j) .. members .. dispute .. '}'}
  end
  return events
end

-- What of a step stands in such an event: neither who took it nor why, which may hold what the parties alone know.
local function step_apart(j, was, command)
  return ',"from":"' .. was .. '","to":"' .. j.status .. '","command":"' .. command .. '"'
end
