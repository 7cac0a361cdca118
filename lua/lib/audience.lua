-- The recipients of an event about a job. The blueprint's audience words (`customer holder ops`;
-- engine/blueprint/audience.py has the words and the defaults) are mapped to channels here, in the step itself, so that
-- an event is sent exactly to those who are concerned at that instant.
--- @include "lib/job"
--- @include "lib/memo"
local Audience = {}

do
  -- Returns the channels of the words that are roles, without `excluded`.
  local function role_channels(words, excluded)
    local channels = {}
    for word in string.gmatch(words, '%S+') do
      if word == 'customers' then channels[#channels + 1] = 'role:customer'
      elseif word ~= excluded and word ~= 'customer' and word ~= 'holder' and word ~= 'technicians' then
        channels[#channels + 1] = 'role:' .. word
      end
    end
    return table.concat(channels, ' ')
  end

  local parse = Memo.of(function(words)
    local function includes(word) return string.find(' ' .. words .. ' ', ' ' .. word .. ' ', 1, true) ~= nil end
    return {roles = role_channels(words), whole_job_roles = role_channels(words, 'mediator'),
      customer = includes('customer'), holder = includes('holder'), technicians = includes('technicians'),
      mediator = includes('mediator')}
  end)

  -- Returns which parties the words include, and the channels of the words that are roles: of all roles, and of those
  -- who receive the whole job.
  function Audience.parse(words) return parse(words) end
end

-- Returns the channels that receive the whole job. All others receive a restricted copy: a holder who has not accepted,
-- the former holder, other technicians, and mediators. Any mediator may settle a dispute: `dispute` names the dispute
-- to all mediators, and the mediator who settles the dispute reads the job. `job:<id>` is for watchers, and contains
-- only what both sides of the job receive.
function Audience.channels(words, job)
  local audience = Audience.parse(words)
  local channels, both = audience.whole_job_roles, job.holder == '' or audience.holder
  if audience.holder and job.holder ~= '' and job.unaccepted ~= '1' then
    channels = 'user:' .. job.holder .. ' ' .. channels
  end
  if audience.customer then
    channels = 'user:' .. job.customer .. ' ' .. channels .. (both and ' job:' .. job.id or '')
  end
  return channels
end

-- Returns the restricted copies of an event, for recipients who may see only the public part, as {channels, data}.
-- `members` are the members beside the job, `former_members` those for the former holder. Technicians who may take the
-- job receive its events until somebody has the job. A `work:` channel is the only channel in an event's `to`
-- (server/gateway/hub.py relies on this).
function Audience.restricted_copies(job, words, members, former, former_members)
  local events, audience = {}, Audience.parse(words)
  if former and former ~= '' and former ~= job.holder and audience.holder then
    events[1] = {'user:' .. former, '{"job":' .. Job.public_json(job) .. (former_members or members) .. '}'}
  end
  if job.holder ~= '' and job.unaccepted == '1' and audience.holder then
    events[#events + 1] = {'user:' .. job.holder, '{"job":' .. Job.public_json(job, job.card) .. members .. '}'}
  end
  if job.holder == '' and audience.technicians then
    events[#events + 1] = {'work:' .. job.service, '{"job":' .. Job.public_json(job) .. members .. '}'}
  end
  if audience.mediator then
    local dispute = job.dispute and ',"dispute":' .. job.dispute or ''
    events[#events + 1] = {'role:mediator', '{"job":' .. Job.public_json(job) .. members .. dispute .. '}'}
  end
  return events
end

-- Returns the members of a step for a restricted copy: neither the actor nor the reason, which may contain what only
-- the parties may read.
function Audience.step_summary(job, was, command)
  return ',"from":"' .. was .. '","to":"' .. job.status .. '","command":"' .. command .. '"'
end
