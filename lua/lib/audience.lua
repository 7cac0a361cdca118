--- @include "lib/job"

-- Who receives an event about a job. The blueprint's audience words (`customer holder ops`; engine/blueprint/audience.py
-- has the words and the defaults) become channels here, in the step itself, so that an event goes to those concerned at
-- that instant and to nobody else.
local Audience = {}

-- The channels of the words that are roles, without `excluded`.
function Audience.role_channels(words, excluded)
  local channels = {}
  for word in string.gmatch(words, '%S+') do
    if word == 'customers' then channels[#channels + 1] = 'role:customer'
    elseif word ~= excluded and word ~= 'customer' and word ~= 'holder' and word ~= 'technicians' then
      channels[#channels + 1] = 'role:' .. word
    end
  end
  return table.concat(channels, ' ')
end

function Audience.includes(words, word) return string.find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) ~= nil end

-- The channels that receive the whole job. Whoever may not see all of it receives a restricted copy: a holder who has
-- not accepted, the former holder, technicians at large, and mediators. Any mediator may settle a dispute: the one
-- who does reads the job, and `dispute` names it to all. `job:<id>` is for watchers, and holds only what both sides
-- of the job receive.
function Audience.channels(words, job)
  local channels, both = Audience.role_channels(words, 'mediator'), job.holder == '' or Audience.includes(words, 'holder')
  if Audience.includes(words, 'holder') and job.holder ~= '' and job.unaccepted ~= '1' then
    channels = 'user:' .. job.holder .. ' ' .. channels
  end
  if Audience.includes(words, 'customer') then
    channels = 'user:' .. job.customer .. ' ' .. channels .. (both and ' job:' .. job.id or '')
  end
  return channels
end

-- The same event for those who see the public part alone, as {channels, data}. `members` is what stands beside the
-- job, `left` the same for the former holder. Those who may take the job receive it until somebody has it. `work:`
-- stands alone in an event's `to` (server/gateway/hub.py relies on it).
function Audience.restricted_copies(job, words, members, former, left)
  local events = {}
  if former and former ~= '' and former ~= job.holder and Audience.includes(words, 'holder') then
    events[1] = {'user:' .. former, '{"job":' .. Job.public_json(job) .. (left or members) .. '}'}
  end
  if job.holder ~= '' and job.unaccepted == '1' and Audience.includes(words, 'holder') then
    events[#events + 1] = {'user:' .. job.holder, '{"job":' .. Job.public_json(job, job.card) .. members .. '}'}
  end
  if job.holder == '' and Audience.includes(words, 'technicians') then
    events[#events + 1] = {'work:' .. job.service, '{"job":' .. Job.public_json(job) .. members .. '}'}
  end
  if Audience.includes(words, 'mediator') then
    local dispute = job.dispute and ',"dispute":' .. job.dispute or ''
    events[#events + 1] = {'role:mediator', '{"job":' .. Job.public_json(job) .. members .. dispute .. '}'}
  end
  return events
end

-- The members of a step in a restricted copy: neither the actor nor the reason, which may hold what only the parties
-- know.
function Audience.step_summary(job, was, command)
  return ',"from":"' .. was .. '","to":"' .. job.status .. '","command":"' .. command .. '"'
end
