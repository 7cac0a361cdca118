--- @include "lib/event_log"

-- Codes (DESIGN §5). The caller says which issue they compared with and whether it matched. What counts is decided
-- here, so that of any number of simultaneous guesses only so many are evaluated. Tries are counted per issue and
-- technician.
local Codes = {}

-- Returns the refusal's word and the tries left, or nil if the code was right. STALE_CODE: another issue is current
-- by now, compare with that one.
function Codes.check(job, technician, args, tries)
  local field = 'tries:' .. technician
  local v = redis.call('HMGET', job.key, 'issue', field)
  local issue, issued, used = v[1] or '1', string.match(v[2] or '', '^(%d+) (%d+)$')
  used = issued == issue and tonumber(used) or 0
  if issue ~= args.issue then return 'STALE_CODE', 0 end
  if used >= tries then return 'CODE_LOCKED', 0 end
  if args.right then return nil end
  redis.call('HSET', job.key, field, issue .. ' ' .. used + 1)
  return 'WRONG_CODE', tries - used - 1
end

-- Codes known so far become invalid.
function Codes.next_issue(job)
  redis.call('HSET', job.key, 'issue', string.format('%d', tonumber(redis.call('HGET', job.key, 'issue') or '1') + 1))
end

-- Issues new codes to the customer; false if they have used up their reissues.
function Codes.reissue(job, reissues)
  if tonumber(redis.call('HGET', job.key, 'reissued') or '0') >= reissues then return false end
  redis.call('HINCRBY', job.key, 'reissued', 1)
  Codes.next_issue(job)
  return true
end

function Codes.event(job, kind, channels, technician, purpose)
  return {type = kind, to = channels, bp = job.bp, data = '{"job":{"id":"' .. job.id .. '"},"technician":{"id":"' ..
    technician .. '"},"purpose":"' .. purpose .. '"}'}
end

-- Checks the code that a step needs: the refusal's word with the tries left, or nil. Each wrong code is an event.
function Codes.refusal(zone, log, job, plan, args, request)
  local technician = string.match(request.actor, '[^:]*$')
  local wrong, left = Codes.check(job, technician, args, plan.tries)
  if wrong ~= 'WRONG_CODE' then return wrong end
  local failed = Codes.event(job, 'code.failed', 'role:ops', technician, plan.code)
  failed.actor, failed.cause, failed.trace = request.actor, request.cause, request.trace
  EventLog.append(zone, log, failed)
  if left == 0 then
    EventLog.append(zone, log,
      Codes.event(job, 'code.locked', 'user:' .. job.customer .. ' role:ops', technician, plan.code))
  end
  EventLog.save_seq(zone)
  return wrong, left
end
