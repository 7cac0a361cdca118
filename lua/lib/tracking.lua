-- The jobs of a technician whose position is shared with the customer now: the set `tracked` beside the record, so that
-- a fix looks at these jobs and not at all that the technician holds. A job is in it from the state that the blueprint
-- names until the work is over, and not before its time less the blueprint's lead. The due entry `track:<job>` adds a
-- job whose time comes later. In addition, the gateways check each position (engine/domain/positions.py).
--- @include "lib/job_fields"
local Tracking = {}

-- The most jobs in the set, and when a job for which there was no room is looked at again.
Tracking.MAX_JOBS, Tracking.RETRY_MS = 16, 60000

-- Notes how long before the job's time the position may be shared in the state that the job has entered: `tracks` in
-- the job's record, `status lead_ms`. In a state without a lead the position is not shared.
function Tracking.enter_state(job, lead_ms)
  job.entered_lead_ms = lead_ms or false
  if lead_ms then JobFields.set_with_step(job, 'tracks', job.status .. ' ' .. lead_ms) end
end

-- Returns the lead (ms) of the job's present state; nil if the position is not shared in it.
function Tracking.lead_ms(job)
  if job.entered_lead_ms ~= nil then return tonumber(job.entered_lead_ms or '') end
  local status, lead_ms = string.match(redis.call('HGET', job.key, 'tracks') or '', '^(%S+) (%d+)$')
  return status == job.status and tonumber(lead_ms) or nil
end

-- Removes the job from the holder's set `tracked`.
function Tracking.remove(tracked, job)
  if redis.call('SREM', tracked, job.id) == 1 then JobFields.set(job.key, 'shared_at', '') end
end

-- Adds the job to its holder's set or removes it, after a change of its state, its holder or its time. `shared_at` in
-- the job's record is when it was added: an earlier position is no part of the path (lib/path).
function Tracking.update(zone, job)
  if job.holder == '' then return end
  local key, due = zone.tag .. 'tech:' .. job.holder, zone.tag .. 'due'
  local lead_ms = Tracking.lead_ms(job)
  local is_new, in_jobs = job.is_just_assigned, job.counts or job.is_just_assigned
  job.is_just_assigned = nil
  if not lead_ms and is_new then return end -- A job that the holder has just got is not in their set.
  if not lead_ms or not in_jobs and redis.call('SISMEMBER', key .. ':jobs', job.id) == 0 then
    Tracking.remove(key .. ':tracked', job)
    return
  end
  local row = redis.call('HMGET', job.key, 'scheduled', 'shared_at')
  local scheduled = tonumber(row[1] or '') or 0
  if scheduled - lead_ms > zone.now then
    Tracking.remove(key .. ':tracked', job)
    redis.call('ZADD', due, scheduled - lead_ms, 'track:' .. job.id)
  elseif row[2] and row[2] ~= '' then return -- The job is in the set.
  elseif redis.call('SCARD', key .. ':tracked') < Tracking.MAX_JOBS then
    if redis.call('SADD', key .. ':tracked', job.id) == 1 then JobFields.set(job.key, 'shared_at', zone.now) end
  elseif redis.call('SISMEMBER', key .. ':tracked', job.id) == 0 then
    redis.call('ZADD', due, zone.now + Tracking.RETRY_MS, 'track:' .. job.id)
  end
end
