-- The last price that one side of a job proposed to the other: `status id amount by holder created reason`, with JSON
-- for the time and the reason (engine/domain/job_view.py reads this record). The proposal is valid only for the
-- technician who held the job when it was made.
--- @include "lib/job_fields"
local Proposal = {}

function Proposal.load(job)
  local text = redis.call('HGET', job.key, 'proposal') or ''
  local status, id, amount, by, holder, created, reason =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
  return status and {status = status, id = id, amount = amount, by = by, holder = holder, created = created,
    reason = reason} or nil
end

function Proposal.save(job, proposal)
  JobFields.set(job.key, 'proposal', table.concat({proposal.status, proposal.id, proposal.amount, proposal.by,
    proposal.holder, proposal.created, proposal.reason}, ' '))
end

function Proposal.is_open(job, proposal)
  return proposal and proposal.status == 'open' and proposal.holder == job.holder
end

function Proposal.json(proposal)
  local role, id = string.match(proposal.by, '^([^:]*):(.*)$')
  return '{"id":"' .. proposal.id .. '","amount":' .. proposal.amount .. ',"by":{"id":"' .. id .. '","role":"' ..
    role .. '"}' .. (proposal.reason ~= '' and ',"reason":' .. proposal.reason or '') ..
    ',"status":"' .. proposal.status .. '","created_at":' .. proposal.created .. '}'
end

-- Returns why the price cannot be negotiated now: the refusal's word, or nil. `states` are the states in which the
-- price can be negotiated.
function Proposal.refusal(job, states)
  if job.frozen ~= '' then return 'FROZEN' end
  if redis.call('HGET', job.key, 'price_locked') == '1' then return 'PRICE_LOCKED' end
  if job.holder == '' or not string.find(states, ' ' .. job.status .. ' ', 1, true) then
    return 'ILLEGAL_TRANSITION'
  end
  return nil
end
