-- How a job counts in its holder's load, the number of jobs that keep them busy now. The job counts from `begins` on:
-- the job's time less the blueprint's lead. A job that begins later has `ahead` in its record, and the record of its
-- holder counts such jobs in its own `ahead`. The due entry `begin:<job>` makes the job count.
--- @include "lib/fix_rate"
--- @include "lib/job_fields"
--- @include "lib/supply"
--- @include "lib/tech"
--- @include "lib/tracking"
local Load = {}

-- Returns the fields of the holder's record that the caller writes.
function Load.change(zone, tech, by)
  tech.load = tech.load + by
  return 'load', tech.load, FixRate.follow_load(zone, tech)
end

-- Counts a job of the technician. Returns the fields of the record that the caller writes, as Load.remove does.
function Load.add(zone, job, tech)
  if job.begins > zone.now then
    JobFields.set(job.key, 'ahead', '1')
    redis.call('HINCRBY', tech.key, 'ahead', 1)
    redis.call('ZADD', zone.tag .. 'due', job.begins, 'begin:' .. job.id)
  else return Load.change(zone, tech, 1) end
end

function Load.remove(zone, job, tech)
  if JobFields.remove(job.key, 'ahead') == 1 then
    redis.call('HINCRBY', tech.key, 'ahead', -1)
    redis.call('ZREM', zone.tag .. 'due', 'begin:' .. job.id)
  else return Load.change(zone, tech, -1) end
end

-- Call this when the job begins or its time was changed. Corrects the load, and whether the holder's position is shared
-- already.
function Load.refresh(zone, job)
  local key = zone.tag .. 'tech:' .. job.holder
  if job.holder == '' or redis.call('SISMEMBER', key .. ':jobs', job.id) == 0 then return end
  local tech = Tech.load(key)
  if not tech then return end
  local fields = {Load.remove(zone, job, tech)}
  for _, value in ipairs({Load.add(zone, job, tech)}) do fields[#fields + 1] = value end
  Tracking.update(zone, job)
  Supply.sync(zone, tech, true, unpack(fields))
end
