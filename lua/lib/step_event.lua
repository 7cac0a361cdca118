--- @include "lib/audience"

-- Parts of events, in the shape of PROTOCOL §5, that several steps have in common.
local StepEvent = {}

-- The members that every step's event has beside the job: from which state to which, by which command, who and why.
function StepEvent.members(job, was, plan, args, actor)
  local role, id = string.match(actor, '^([^:]*):(.*)$')
  return ',"from":"' .. was .. '","to":"' .. job.status .. '","command":"' .. plan.command .. '","actor":{"id":"' ..
    (id or 'engine') .. '","role":"' .. (role or 'engine') .. '"}' ..
    (args.reason and ',"reason":' .. args.reason or '') ..
    (args.occurred_at and ',"occurred_at":"' .. args.occurred_at .. '"' or '')
end

-- A technician's working day as a map shows it, for blueprints that declare it: assigned, departed, free. It goes to
-- roles.
function StepEvent.technician_status(job, technician, reason, words)
  return {type = 'technician.status', to = Audience.role_channels(words), bp = job.bp, data = '{"technician":{"id":"' ..
    technician ..
    '"},"online":' .. (redis.call('HGET', string.match(job.key, '^{[^}]*}:') .. 'tech:' .. technician, 'online') == '1'
    and 'true' or 'false') .. ',"reason":"' .. reason .. '","job":{"id":"' .. job.id .. '"}}'}
end
