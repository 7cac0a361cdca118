--- @include "lib/iso"
-- The job's hash and its two views. Fixed members are encoded once, at creation, by the caller (`full`, `pub`); a
-- step only joins them with what moves. cjson would cost several times as much, in every claim. The record is read
-- by literal names into one constructor: a loop over a table of names took a tenth of the claim.
local function job_load(key)
  local v = redis.call('HMGET', key, 'id', 'bp', 'status', 'phase', 'version', 'customer', 'holder', 'card', 'full',
    'pub', 'at', 'updated', 'expires', 'last', 'wave', 'service', 'claimed', 'amount', 'mode', 'entered', 'frozen',
    'created', 'radius', 'paid', 'refunded', 'asked_back', 'begins', 'unaccepted')
  if not v[1] then return nil end
  return {key = key, id = v[1], bp = v[2], status = v[3], phase = v[4], version = tonumber(v[5]), customer = v[6],
    holder = v[7], card = v[8], full = v[9], pub = v[10], at = v[11], updated = tonumber(v[12]),
    expires = tonumber(v[13]) or 0, last = v[14], wave = tonumber(v[15]) or 0, service = v[16],
    claimed = v[17] or '', amount = v[18], mode = v[19], entered = v[20], frozen = v[21],
    created = tonumber(v[22]) or 0, radius = v[23], paid = v[24] or '0', refunded = v[25] or '0', back = v[26] or '0',
    begins = tonumber(v[27]) or 0, unaccepted = v[28] or ''}
end

-- `now` is the time already written out, where the caller has it.
local function job_full(j, now)
  return '{' .. j.full .. ',"amount":' .. j.amount .. ',"paid_amount":' .. j.paid .. ',"refunded_amount":' ..
    j.refunded .. ',"status":"' .. j.status .. '","phase":"' .. j.phase ..
    '","version":' .. j.version .. ',"technician":' .. (j.card ~= '' and j.card or 'null') .. ',"updated_at":' ..
    (now or iso(j.updated)) .. ',"at":{' .. j.at .. '}' ..
    (j.expires > 0 and ',"expires_at":' .. iso(j.expires) or '') .. (j.unaccepted == '1' and ',"asked":true' or '') ..
    (j.frozen ~= '' and ',"frozen":true}' or '}')
end

-- What a name in `at` stands for: a state that was reached, or a mark (`confirmed`); the first time counts.
local function job_marked(j, name) return string.find(j.at, '"' .. name .. '":', 1, true) end
local function job_mark(j, name, now)
  if not job_marked(j, name) then j.at = j.at .. (j.at ~= '' and ',' or '') .. '"' .. name .. '":' .. now end
end

-- Whether a technician is looked for now.
local function seeks(j) return j.mode ~= 'none' and j.holder == '' end

-- Move to the goal (nil: only what is in the state changed): version (the fencing token) rises by one. Who holds the
-- job must be settled before: an open job with a holder is told as assigned. Returns the time, written out.
local function job_move(z, j, goal)
  local now = iso(z.now)
  j.version, j.updated = j.version + 1, z.now
  if goal then
    j.was, j.waits = j.was or j.status, goal.waits -- `was`: before this step, however many states it goes through
    j.status, j.phase, j.mode, j.entered = goal.status, goal.phase, goal.mode, string.format('%d', j.version)
    job_mark(j, goal.status, now)
    -- A holder who never accepted stays merely asked when the job is called off.
    if goal.phase ~= 'closed' or j.holder == '' then j.unaccepted = goal.asked and j.holder ~= '' and '1' or '' end
    if goal.timers ~= '-' then redis.call('HSET', j.key, 'since', z.now, 'watch', '') end
    for name, ms in string.gmatch(goal.timers, '(%w+)/(%d+)') do
      redis.call('ZADD', z.tag .. 'due', z.now + ms, 'timer:' .. j.id .. ':' .. j.entered .. ':' .. name)
    end
  end
  if j.phase == 'open' and j.holder ~= '' then j.phase = 'assigned' end
  if not seeks(j) then j.expires = 0 end
  return now
end

-- What a few steps alone change they write themselves: `amount`, `frozen`, the money, the fixed members.
local function job_save(j)
  redis.call('HSET', j.key, 'status', j.status, 'phase', j.phase, 'version', j.version, 'holder', j.holder,
    'card', j.card, 'at', j.at, 'updated', j.updated, 'expires', j.expires, 'last', j.last, 'claimed', j.claimed,
    'mode', j.mode, 'entered', j.entered, 'unaccepted', j.unaccepted or '')
end
