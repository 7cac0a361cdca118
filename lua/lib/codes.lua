-- Codes (DESIGN §5): the caller says which issue he compared with and whether it matched; what counts is decided here,
-- so that of any number of guesses at once only so many are looked at. Tries are counted an issue and technician.
-- Returns a refusal's word and the tries left, or nil where the code was right.
-- STALE_CODE: another issue is current by now; compare with that one.
local function code_check(j, technician, a, tries)
  local field = 'tries:' .. technician
  local v = redis.call('HMGET', j.key, 'issue', field)
  local issue, issued, used = v[1] or '1', string.match(v[2] or '', '^(%d+) (%d+)$')
  used = issued == issue and tonumber(used) or 0
  if issue ~= a.issue then return 'STALE_CODE', 0 end
  if used >= tries then return 'CODE_LOCKED', 0 end
  if a.right then return nil end
  redis.call('HSET', j.key, field, issue .. ' ' .. used + 1)
  return 'WRONG_CODE', tries - used - 1
end

-- What somebody was told before is worth nothing to him any more.
local function code_anew(j)
  redis.call('HSET', j.key, 'issue', string.format('%d', tonumber(redis.call('HGET', j.key, 'issue') or '1') + 1))
end

-- New ones for the customer; false where he has had them as often as he may.
local function code_reissued(j, reissues)
  if tonumber(redis.call('HGET', j.key, 'reissued') or '0') >= reissues then return false end
  redis.call('HINCRBY', j.key, 'reissued', 1)
  code_anew(j)
  return true
end

local function code_failed(j, kind, to, technician, purpose)
  return {type = kind, to = to, bp = j.bp, data = '{"job":{"id":"' .. j.id .. '"},"technician":{"id":"' ..
    technician .. '"},"purpose":"' .. purpose .. '"}'}
end

-- The code that a step asks for: a refusal's word with the tries left, or nil. Each wrong one is an event.
local function code_missed(z, log, j, p, a, by)
  local technician = string.match(by.actor, '[^:]*$')
  local wrong, left = code_check(j, technician, a, p.tries)
  if wrong ~= 'WRONG_CODE' then return wrong end
  local failed = code_failed(j, 'code.failed', 'role:ops', technician, p.code)
  failed.actor, failed.cause, failed.trace = by.actor, by.cause, by.trace
  append(z, log, failed)
  if left == 0 then append(z, log, code_failed(j, 'code.locked', 'user:' .. j.customer .. ' role:ops', technician, p.code)) end
  leave(z)
  return wrong, left
end
