-- Parts of events that several steps have in common, in the format of PROTOCOL §5.
--- @include "lib/audience"
local StepEvent = {}

-- Returns the members of every step's event in addition to the job: its states before and after, the command, the
-- actor, and the reason.
function StepEvent.members(job, was, plan, args, actor)
  local role, id = string.match(actor, '^([^:]*):(.*)$')
  return ',"from":"' .. was .. '","to":"' .. job.status .. '","command":"' .. plan.command .. '","actor":{"id":"' ..
    (id or 'engine') .. '","role":"' .. (role or 'engine') .. '"}' ..
    (args.reason and ',"reason":' .. args.reason or '') ..
    (args.force and ',"forced":true' or '') ..
    (args.occurred_at and ',"occurred_at":"' .. args.occurred_at .. '"' or '')
end

-- The event that a technician was assigned, departed or is free, for a map. The event exists only if the blueprint
-- declares it, and its recipients are roles.
function StepEvent.technician_status(job, technician, reason, words)
  local online = redis.call('HGET', string.match(job.key, '^{[^}]*}:') .. 'tech:' .. technician, 'online')
  return {type = 'technician.status', to = Audience.parse(words).roles, bp = job.bp, data = '{"technician":{"id":"' ..
    technician .. '"},"online":' .. (online == '1' and 'true' or 'false') .. ',"reason":"' .. reason ..
    '","job":{"id":"' .. job.id .. '"}}'}
end
