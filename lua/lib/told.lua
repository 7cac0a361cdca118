--- @include "lib/audience"
-- Events in the shape of PROTOCOL §5 that several steps have in common.

-- The members that every step tells beside the job: from where to where, by which command, who and why.
local function step_told(j, was, p, a, actor)
  local role, id = string.match(actor, '^([^:]*):(.*)$')
  return ',"from":"' .. was .. '","to":"' .. j.status .. '","command":"' .. p.command .. '","actor":{"id":"' ..
    (id or 'engine') .. '","role":"' .. (role or 'engine') .. '"}' ..
    (a.reason and ',"reason":' .. a.reason or '') ..
    (a.occurred_at and ',"occurred_at":"' .. a.occurred_at .. '"' or '')
end

-- A technician's working day as a map shows it, for blueprints that tell of it: assigned, departed, free. It is for roles.
local function tech_moved(j, technician, reason, words)
  return {type = 'technician.status', to = roles(words), bp = j.bp, data = '{"technician":{"id":"' .. technician ..
    '"},"online":' .. (redis.call('HGET', string.match(j.key, '^{[^}]*}:') .. 'tech:' .. technician, 'online') == '1'
    and 'true' or 'false') .. ',"reason":"' .. reason .. '","job":{"id":"' .. j.id .. '"}}'}
end
