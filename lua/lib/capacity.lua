-- Frees or occupies the holder's capacity when their job ends, is resumed, or is taken from them.
--- @include "lib/job_fields"
--- @include "lib/load"
--- @include "lib/offers"
--- @include "lib/schedule"
--- @include "lib/supply"
--- @include "lib/tech"
local Capacity = {}

-- Frees the holder's capacity. They stay the holder of the job. Their position is private from now on, so the job
-- stores the last position before that in `track`: `technician lat lon fix_at ended_at status`, times in ms
-- (engine/domain/positions.py reads it). `freed` says that the job is not among the holder's jobs any more.
function Capacity.free(zone, job)
  job.counts = nil
  if redis.call('SREM', zone.tag .. 'tech:' .. job.holder .. ':jobs', job.id) == 0 then return end
  redis.call('SREM', zone.tag .. 'tech:' .. job.holder .. ':tracked', job.id)
  Schedule.remove(job, zone.tag .. 'tech:' .. job.holder)
  local tech = Tech.load(zone.tag .. 'tech:' .. job.holder)
  local track = tech and tech.lat ~= '' and string.format('%s %s %s %.0f %.0f %s', tech.id, tech.lat, tech.lon,
    tech.fix_at, zone.now, job.was or job.status)
  JobFields.set(job.key, 'freed', '1', 'shared_at', '', unpack(track and {'track', track} or {}))
  if not tech then return end
  Supply.sync(zone, tech, true, 'free_at', zone.now, Load.remove(zone, job, tech))
end

-- Makes the job count towards the holder's load again, when their work is resumed. Sets `job.counts`: the job is among
-- the holder's jobs.
function Capacity.occupy_again(zone, job)
  local key = zone.tag .. 'tech:' .. job.holder
  job.counts = true
  if redis.call('SISMEMBER', key .. ':jobs', job.id) == 1 then return end
  local tech = Tech.load(key)
  if not tech then return end
  JobFields.remove(job.key, 'freed')
  redis.call('SADD', key .. ':jobs', job.id)
  Schedule.put_back(job, key)
  Supply.sync(zone, tech, false, Load.add(zone, job, tech))
end

-- Removes the job from the holder. The job is not offered to them again. The price proposal to the former holder, or by
-- them, is deleted, so that it is not open if they get the job once more.
function Capacity.remove_holder(zone, job, offers)
  Capacity.free(zone, job)
  redis.call('ZREM', zone.tag .. 'user:' .. job.holder .. ':jobs', job.id)
  JobFields.remove(job.key, 'proposal')
  JobFields.remove(job.key, 'freed')
  Offers.put(offers, job.holder, string.format('left 0 %.0f %.0f 0', zone.now, zone.now))
end
