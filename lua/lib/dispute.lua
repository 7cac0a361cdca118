-- A dispute about a job: while it is open only what resolves it goes on. `a.told` are its members as the caller encoded
-- them, opened and resolved in turn; the job keeps them joined, and the dispute's id leads to the job.
local function dispute_shown(j, told) return '{' .. told .. ',"status":"' .. (j.frozen ~= '' and 'open' or 'resolved') .. '"}' end

-- The same for all mediators, of whom most will have nothing to do with it: `reason` where it is opened.
local function dispute_named(j, id, reason)
  return '{"id":"' .. id .. '","job":"' .. j.id .. '"' .. (reason and ',"reason":' .. reason or '') .. ',"status":"' ..
    (j.frozen ~= '' and 'open' or 'resolved') .. '"}'
end

local function dispute_opened(z, j, a, now)
  local told = a.told .. ',"opened_at":' .. now
  j.frozen = a.dispute
  redis.call('HSET', j.key, 'dispute', told, 'frozen', j.frozen)
  redis.call('SET', z.tag .. 'dispute:' .. a.dispute, j.id)
  redis.call('ZADD', z.tag .. 'disputes', z.now, j.id)
  j.dispute = dispute_named(j, a.dispute, a.reason)
  return dispute_shown(j, told)
end

-- Who is told the outcome asks once more by the id of the dispute: it leads to the job for a day.
local function dispute_resolved(z, j, a, now)
  local told = redis.call('HGET', j.key, 'dispute') .. ',' .. a.told .. ',"resolved_at":' .. now
  redis.call('EXPIRE', z.tag .. 'dispute:' .. j.frozen, 86400)
  redis.call('ZREM', z.tag .. 'disputes', j.id)
  redis.call('HSET', j.key, 'dispute', told, 'frozen', '')
  local id = j.frozen
  j.frozen = ''
  j.dispute = dispute_named(j, id)
  return dispute_shown(j, told)
end
