-- Confirmation codes (DESIGN §5). A job gets new codes under a new issue number. The caller reports the issue with
-- which the code was compared, and whether it matched. This file decides which guesses count, so that only the allowed
-- number of simultaneous guesses is evaluated. Tries are counted for each issue and technician: `tries:<technician>` is
-- `issue count` (engine/domain/job_view.py reads it).
--- @include "lib/event_log"
--- @include "lib/job_fields"
local Codes = {}

-- Returns the refusal's word and the tries left, or nil if the code was right. STALE_CODE: another issue is current by
-- now, and the caller compares the code with the current issue.
function Codes.check(job, technician, args, tries)
  local field = 'tries:' .. technician
  local row = redis.call('HMGET', job.key, 'issue', field)
  local issue, issued, used = row[1] or '1', string.match(row[2] or '', '^(%d+) (%d+)$')
  used = issued == issue and tonumber(used) or 0
  if issue ~= args.issue then return 'STALE_CODE', 0 end
  if used >= tries then return 'CODE_LOCKED', 0 end
  if args.right then return nil end
  JobFields.set(job.key, field, issue .. ' ' .. used + 1)
  return 'WRONG_CODE', tries - used - 1
end

-- Makes all codes issued so far invalid.
function Codes.next_issue(job)
  JobFields.set(job.key, 'issue', string.format('%d', tonumber(redis.call('HGET', job.key, 'issue') or '1') + 1))
end

-- Issues new codes to the customer. Returns false if the customer may not request new codes any more.
function Codes.reissue(job, reissues)
  if tonumber(redis.call('HGET', job.key, 'reissued') or '0') >= reissues then return false end
  JobFields.increment(job.key, 'reissued', 1)
  Codes.next_issue(job)
  return true
end

function Codes.event(job, kind, channels, technician, purpose)
  return {type = kind, to = channels, bp = job.bp, data = '{"job":{"id":"' .. job.id .. '"},"technician":{"id":"' ..
    technician .. '"},"purpose":"' .. purpose .. '"}'}
end

-- Checks the code that a step needs. Returns the refusal's word and the tries left, or nil. Each wrong code is reported
-- by an event.
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
