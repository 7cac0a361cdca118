-- Idempotency records (guarantee G2 of docs/design.md): every request with the same idempotency key gets the first
-- reply, also if that reply was lost on the way. A record is `WORD fingerprint seq version job`;
-- engine/idempotency/in_redis.py reads it. The job's list has the records of its last MAX_CAUSES changes, `req WORD …`,
-- until the job is deleted. `req` is the whole name of the key, with the principal: two technicians whose apps derive
-- the key from the job send the same key with the same fingerprint, and the second technician must not get the success
-- of the first.
--   A command in SQL has its record in SQL, and the record `SQL fingerprint 0 0 -` in Redis. This fingerprint is never
-- that of a command in Redis, so that every command in Redis with the same key is refused.
local Idempotency = {}

-- The TTLs of a record: after a step, after a command that creates something or answers a price proposal, and after a
-- refusal (short, so that a refused caller can soon try again). engine/idempotency/in_sql.py has the same times.
Idempotency.STEP_MS, Idempotency.CREATION_MS, Idempotency.REFUSAL_MS = 600000, 86400000, 60000
Idempotency.MAX_CAUSES = 16

-- Answers a step that is requested again under another key after the step was taken. The reply is the original reply.
-- The reply is stored under the new key too, so that it stays the same when the job changes.
function Idempotency.answer_again(req, fingerprint, seq, version, job_id)
  Idempotency.store(req, fingerprint, seq, version, job_id, Idempotency.STEP_MS)
  return {'OK', '1', seq, version, job_id}
end

-- Answers a request that changes nothing, because another request has already made the change. The reply is made from
-- the state of the job and not from an event. The key is stored without a seq, so that it is refused for another
-- request. `json` is for the reply. The reply has the seq of the head: the other request's event is at or below it, and
-- the acknowledgement waits for it.
function Idempotency.answer_unchanged(zone, req, fingerprint, version, job_id, json, ttl_ms)
  Idempotency.store(req, fingerprint, 0, version, job_id, ttl_ms or Idempotency.STEP_MS)
  return {'OK', '1', zone.seq, version, job_id, json}
end

-- Returns the reply to a repeat. If the first reply had no event (`answer_unchanged`), the repeat has the seq of the
-- head.
function Idempotency.at_head(zone, again)
  if again and again[1] == 'OK' and again[3] == '0' then again[3] = zone.seq end
  return again
end

function Idempotency.compare(stored, fingerprint)
  local word, known, seq, version, job_id = string.match(stored, '^(%S+) (%S+) (%S+) (%S+) (%S+)')
  if known ~= fingerprint then return {'REUSED_KEY', '0'} end
  return {word, '1', seq, version, job_id}
end

-- Returns the reply to an earlier request with this key, or nil. `causes` and `job` are given for a command on a job.
-- If the job is younger than STEP_MS, every record of its list is also stored under its own key, and the list is not
-- read.
function Idempotency.lookup(req, fingerprint, causes, zone, job)
  local stored = redis.call('GET', req)
  if stored then return Idempotency.compare(stored, fingerprint) end
  if not causes or job and zone.now < job.created + Idempotency.STEP_MS then return nil end
  for _, line in ipairs(redis.call('LRANGE', causes, 0, Idempotency.MAX_CAUSES - 1)) do
    local name, rest = string.match(line, '^(%S+) (.*)$')
    if name == req then return Idempotency.compare(rest, fingerprint) end
  end
  return nil
end

-- Notes that the key belongs to a command in SQL. Returns false if it belongs to one in Redis.
function Idempotency.reserve(req, fingerprint, ttl_ms)
  local stored = redis.call('GET', req)
  if stored and string.sub(stored, 1, 4) ~= 'SQL ' then return false end
  redis.call('SET', req, 'SQL ' .. fingerprint .. ' 0 0 -', 'PX', ttl_ms)
  return true
end

-- Stores and returns a refusal. Up to two numbers and a job id are returned with the refusal and with its repeats.
function Idempotency.refuse(req, fingerprint, word, one, two, job_id)
  local record = word .. ' ' .. fingerprint .. ' ' .. (one or 0) .. ' ' .. (two or 0) .. ' ' .. (job_id or '-')
  redis.call('SET', req, record, 'PX', Idempotency.REFUSAL_MS)
  return {word, '0', one, two, job_id}
end

function Idempotency.store(req, fingerprint, seq, version, job_id, ttl_ms, causes)
  local record = 'OK ' .. fingerprint .. ' ' .. seq .. ' ' .. version .. ' ' .. job_id
  redis.call('SET', req, record, 'PX', ttl_ms)
  if causes and redis.call('LPUSH', causes, req .. ' ' .. record) > Idempotency.MAX_CAUSES then
    redis.call('LTRIM', causes, 0, Idempotency.MAX_CAUSES - 1)
  end
end
