--- @include "lib/iso"

-- The job's hash and its two JSON views. Fixed members are encoded once, at creation, by the caller (`full`, `pub`);
-- a step only joins them with what changes. cjson would cost several times as much, in every claim.
local Job = {}

-- How long the keys of a finished job stay after the job is in SQL.
Job.ARCHIVED_MS = 86400000

-- Reads the record by literal names into one constructor: a loop over a table of names took a tenth of the claim.
function Job.load(key)
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

-- `now` is the formatted time, if the caller has it.
function Job.full_json(job, now)
  return '{' .. job.full .. ',"amount":' .. job.amount .. ',"paid_amount":' .. job.paid .. ',"refunded_amount":' ..
    job.refunded .. ',"status":"' .. job.status .. '","phase":"' .. job.phase ..
    '","version":' .. job.version .. ',"technician":' .. (job.card ~= '' and job.card or 'null') .. ',"updated_at":' ..
    (now or Iso.format(job.updated)) .. ',"at":{' .. job.at .. '}' ..
    (job.expires > 0 and ',"expires_at":' .. Iso.format(job.expires) or '') ..
    (job.unaccepted == '1' and ',"asked":true' or '') ..
    (job.frozen ~= '' and ',"frozen":true}' or '}')
end

-- A name in `at` is a state that was reached, or a mark (`confirmed`). The first time counts.
function Job.has_mark(job, name) return string.find(job.at, '"' .. name .. '":', 1, true) end
function Job.set_mark(job, name, now)
  if not Job.has_mark(job, name) then job.at = job.at .. (job.at ~= '' and ',' or '') .. '"' .. name .. '":' .. now end
end

-- Whether the job looks for a technician now.
function Job.is_searching(job) return job.mode ~= 'none' and job.holder == '' end

-- Enters the state (nil: only something within the state changed). The version (the fencing token) rises by one. The
-- holder must be settled before: an open job with a holder has the phase assigned. Returns the formatted time.
function Job.move(zone, job, state_entry)
  local now = Iso.format(zone.now)
  job.version, job.updated = job.version + 1, zone.now
  if state_entry then
    -- `was` is the state before this step, however many states the step enters.
    job.was, job.waits = job.was or job.status, state_entry.waits
    job.status, job.phase, job.mode, job.entered = state_entry.status, state_entry.phase, state_entry.mode,
      string.format('%d', job.version)
    Job.set_mark(job, state_entry.status, now)
    -- A holder who never accepted stays unaccepted when the job is cancelled.
    if state_entry.phase ~= 'closed' or job.holder == '' then
      job.unaccepted = state_entry.asked and job.holder ~= '' and '1' or ''
    end
    if state_entry.timers ~= '-' then redis.call('HSET', job.key, 'since', zone.now, 'watch', '') end
    for name, ms in string.gmatch(state_entry.timers, '(%w+)/(%d+)') do
      redis.call('ZADD', zone.tag .. 'due', zone.now + ms, 'timer:' .. job.id .. ':' .. job.entered .. ':' .. name)
    end
  end
  if job.phase == 'open' and job.holder ~= '' then job.phase = 'assigned' end
  if not Job.is_searching(job) then job.expires = 0 end
  return now
end

-- Fields that only a few steps change are written by those steps: `amount`, `frozen`, the money, the fixed members.
function Job.save(job)
  redis.call('HSET', job.key, 'status', job.status, 'phase', job.phase, 'version', job.version, 'holder', job.holder,
    'card', job.card, 'at', job.at, 'updated', job.updated, 'expires', job.expires, 'last', job.last, 'claimed',
    job.claimed, 'mode', job.mode, 'entered', job.entered, 'unaccepted', job.unaccepted or '')
end

-- The public part: no customer, address, postal code, notes, reference nor metadata, the position to 100 m, and not
-- who has the job. `card` is given for a holder who has not accepted, and is shown to nobody else.
function Job.public_json(job, card)
  return '{' .. job.pub .. ',"amount":' .. job.amount .. ',"status":"' .. job.status .. '","phase":"' .. job.phase ..
    '","version":' .. job.version .. ',"technician":' .. (card and card ~= '' and card or 'null') .. ',"updated_at":' ..
    Iso.format(job.updated) .. ',"at":{' .. job.at .. '}' .. (job.expires > 0 and ',"expires_at":' ..
      Iso.format(job.expires) or '') .. '}'
end
