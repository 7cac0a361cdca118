-- Request keys (G2): the first verdict stands, whatever was lost on the way. A verdict is
-- `WORD fingerprint seq version job`. Done: ten minutes, creation a day; refused: one minute, so that who was told
-- no may soon try again. The job keeps the verdicts of its last 16 changes, `req WORD …`, as long as it lives: under
-- the request key's whole name, principal included. Two technicians whose apps derive the key from the job send the
-- same key with the same fingerprint, and the second must not be given the first one's yes.
local function recall(stored, fingerprint)
  local word, print, seq, version, job = string.match(stored, '^(%S+) (%S+) (%S+) (%S+) (%S+)')
  if print ~= fingerprint then return {'REUSED_KEY', '0'} end
  return {word, '1', seq, version, job}
end

-- What was answered to this key before, or nil; `causes` and `j` where the command is a job's. Within the ten minutes
-- for which every key is kept, the job's own list can tell no more.
local function remembered(req, fingerprint, causes, z, j)
  local stored = redis.call('GET', req)
  if stored then return recall(stored, fingerprint) end
  if not causes or j and z.now < j.created + 600000 then return nil end
  for _, line in ipairs(redis.call('LRANGE', causes, 0, 15)) do
    local name, rest = string.match(line, '^(%S+) (.*)$')
    if name == req then return recall(rest, fingerprint) end
  end
  return nil
end

-- `more` is a number told with the refusal, and with its repeats.
local function refuse(req, fingerprint, word, more)
  redis.call('SET', req, word .. ' ' .. fingerprint .. ' ' .. (more or 0) .. ' 0 -', 'PX', 60000)
  return {word, '0', more}
end

local function remember(req, fingerprint, seq, version, job, ms, causes)
  local verdict = 'OK ' .. fingerprint .. ' ' .. string.format('%.0f', seq) .. ' ' .. version .. ' ' .. job
  redis.call('SET', req, verdict, 'PX', ms)
  if causes and redis.call('LPUSH', causes, req .. ' ' .. verdict) > 16 then redis.call('LTRIM', causes, 0, 15) end
end
