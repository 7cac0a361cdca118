-- Idempotency records (G2): the first reply to an idempotency key stands, whatever was lost on the way. A record is
-- `WORD fingerprint seq version job`. After success it lives ten minutes (a day for a creation), after a refusal one
-- minute, so that whoever was refused may soon try again. The job keeps the records of its last 16 changes, `req WORD
-- …`, as long as it lives: under the whole name of the key, principal included. Two technicians whose apps derive the
-- key from the job send the same key with the same fingerprint, and the second must not get the first one's success.
local Idempotency = {}

-- A step that was taken already, requested again under another key: the reply is the original one, and is stored
-- under that key too, whatever becomes of the job.
function Idempotency.answer_again(req, fingerprint, seq, version, job_id)
  Idempotency.store(req, fingerprint, seq, version, job_id, 600000)
  return {'OK', '1', seq, version, job_id}
end

function Idempotency.compare(stored, fingerprint)
  local word, known, seq, version, job_id = string.match(stored, '^(%S+) (%S+) (%S+) (%S+) (%S+)')
  if known ~= fingerprint then return {'REUSED_KEY', '0'} end
  return {word, '1', seq, version, job_id}
end

-- The reply given to this key before, or nil. `causes` and `job` are given where the command is a job's. Within the
-- ten minutes for which every key is kept, the job's own list knows nothing more.
function Idempotency.lookup(req, fingerprint, causes, zone, job)
  local stored = redis.call('GET', req)
  if stored then return Idempotency.compare(stored, fingerprint) end
  if not causes or job and zone.now < job.created + 600000 then return nil end
  for _, line in ipairs(redis.call('LRANGE', causes, 0, 15)) do
    local name, rest = string.match(line, '^(%S+) (.*)$')
    if name == req then return Idempotency.compare(rest, fingerprint) end
  end
  return nil
end

-- `more` is a number returned with the refusal, and with its repeats.
function Idempotency.refuse(req, fingerprint, word, more)
  redis.call('SET', req, word .. ' ' .. fingerprint .. ' ' .. (more or 0) .. ' 0 -', 'PX', 60000)
  return {word, '0', more}
end

function Idempotency.store(req, fingerprint, seq, version, job_id, ms, causes)
  local record = 'OK ' .. fingerprint .. ' ' .. string.format('%.0f', seq) .. ' ' .. version .. ' ' .. job_id
  redis.call('SET', req, record, 'PX', ms)
  if causes and redis.call('LPUSH', causes, req .. ' ' .. record) > 16 then redis.call('LTRIM', causes, 0, 15) end
end
