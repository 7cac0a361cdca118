-- The job's hash and its two JSON views. The caller encodes the fixed members once, at creation (`full`, `pub`). A
-- step only joins them with the members that change. Encoding by cjson would cost several times as much, in every
-- claim.
--- @include "lib/iso"
--- @include "lib/job_fields"
--- @include "lib/map_index"
--- @include "lib/promise"
--- @include "lib/timers"
--- @include "lib/tracking"
local Job = {}

-- How long the keys of a finished job stay in Redis after the job is in SQL.
Job.ARCHIVED_MS = 600000

-- Reads the record by literal names into one constructor: a loop over a table of names took a tenth of the time of a
-- claim.
function Job.load(key)
  local row = redis.call('HMGET', key, 'id', 'bp', 'status', 'phase', 'version', 'customer', 'holder', 'card', 'full',
    'pub', 'at', 'updated', 'expires', 'last', 'wave', 'service', 'claimed', 'amount', 'mode', 'entered', 'frozen',
    'created', 'radius', 'paid', 'refunded', 'asked_back', 'begins', 'unaccepted', 'closing', 'room', 'recorded',
    'visit', 'promise', 'signed', 'photos')
  if not row[1] then return nil end
  return {key = key, row = row, id = row[1], bp = row[2], status = row[3], phase = row[4], version = tonumber(row[5]),
    customer = row[6], holder = row[7], card = row[8], full = row[9], pub = row[10], at = row[11],
    updated = tonumber(row[12]), expires = tonumber(row[13]) or 0, last = row[14], wave = tonumber(row[15]) or 0,
    service = row[16], claimed = row[17] or '', amount = row[18], mode = row[19], entered = row[20], frozen = row[21],
    created = tonumber(row[22]) or 0, radius = row[23], paid = row[24] or '0', refunded = row[25] or '0',
    back = row[26] or '0', begins = tonumber(row[27]) or 0, unaccepted = row[28] or '',
    closing = row[29] or '', room = row[30] or '', recorded = row[31], visit = row[32],
    promise = row[33] or '', signed = row[34] or '', photos = row[35] or '[]'}
end

-- `now` is the formatted time, if the caller has it.
function Job.full_json(job, now)
  local promise = Promise.time(job.promise)
  return '{' .. job.full .. ',"amount":' .. job.amount .. ',"paid_amount":' .. job.paid .. ',"refunded_amount":' ..
    job.refunded .. ',"status":"' .. job.status .. '","phase":"' .. job.phase ..
    '","version":' .. job.version .. ',"technician":' .. (job.card ~= '' and job.card or 'null') .. ',"updated_at":' ..
    (now or Iso.format(job.updated)) .. ',"at":{' .. job.at .. '},"photos":' .. (job.photos or '[]') ..
    (job.expires > 0 and ',"expires_at":' .. Iso.format(job.expires) or '') ..
    (job.room ~= '' and ',"room":"' .. job.room .. '"' or '') ..
    (promise and ',"promise":' .. Iso.format(promise) or '') ..
    (job.unaccepted == '1' and ',"asked":true' or '') ..
    ((job.signed or '') ~= '' and ',"signed":' .. job.signed or '') ..
    (job.frozen ~= '' and ',"frozen":true}' or '}')
end

-- `at` contains the time of each state that the job reached and of each mark (`confirmed`), as JSON members. The first
-- time of a state or mark counts.
function Job.has_mark(job, name) return string.find(job.at, '"' .. name .. '":', 1, true) end
function Job.set_mark(job, name, now)
  if not Job.has_mark(job, name) then job.at = job.at .. (job.at ~= '' and ',' or '') .. '"' .. name .. '":' .. now end
end

-- Returns whether the search for a technician of this job is open now.
function Job.is_searching(job) return job.mode ~= 'none' and job.holder == '' end

-- Enters the state that `state_entry` describes; without it the state stays. The version (the fencing token) rises by
-- one in both cases. The caller sets the holder before: an open job with a holder has the phase assigned. Returns the
-- formatted time.
function Job.next_version(zone, job, state_entry)
  local now, was, was_asked = Iso.format(zone.now), job.phase, job.unaccepted == '1'
  job.version, job.updated = job.version + 1, zone.now
  if state_entry then
    -- `was` is the state before the whole step, which may enter several states.
    job.was, job.waits = job.was or job.status, state_entry.waits
    job.status, job.phase, job.mode, job.entered = state_entry.status, state_entry.phase, state_entry.mode,
      string.format('%d', job.version)
    Job.set_mark(job, state_entry.status, now)
    Tracking.enter_state(job, state_entry.track_lead_ms)
    -- A holder who never accepted stays unaccepted when the job is cancelled.
    if state_entry.phase ~= 'closed' or job.holder == '' then
      job.unaccepted = state_entry.asked and job.holder ~= '' and '1' or ''
    end
    if state_entry.window then JobFields.set(job.key, 'window', state_entry.window) end
    if state_entry.travel then JobFields.set_with_step(job, 'travel', job.entered .. ' ' .. state_entry.travel) end
    if state_entry.timers ~= '-' then Timers.start(zone, job, state_entry.timers) end
  end
  if job.phase == 'open' and job.holder ~= '' then job.phase = 'assigned' end
  if (job.promise or '') ~= '' or job.is_new_holder then Promise.follow_step(zone, job, state_entry, was_asked) end
  if not Job.is_searching(job) then job.expires = 0 end
  MapIndex.sync_job(zone, job, was)
  return now
end

-- Returns the job's public part: without customer, address, postal code, notes, reference, metadata and technician, and
-- with the position to 100 m. `card` is given for a holder who has not accepted: only they receive their card.
function Job.public_json(job, card)
  return '{' .. job.pub .. ',"amount":' .. job.amount .. ',"status":"' .. job.status .. '","phase":"' .. job.phase ..
    '","version":' .. job.version .. ',"technician":' .. (card and card ~= '' and card or 'null') .. ',"updated_at":' ..
    Iso.format(job.updated) .. ',"at":{' .. job.at .. '}' .. (job.expires > 0 and ',"expires_at":' ..
      Iso.format(job.expires) or '') .. '}'
end
