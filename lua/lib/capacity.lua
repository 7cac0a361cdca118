--- @include "lib/load"
--- @include "lib/supply"
--- @include "lib/tech"

-- The holder's capacity when their job ends, goes on again, or leaves them.
local Capacity = {}

-- The holder has room again. Their name stays on the job, since it was theirs. Their position is private from now on;
-- the job keeps where they were, when that was, when the work was over, and in which state it was until then.
function Capacity.free(zone, job)
  if redis.call('SREM', zone.tag .. 'tech:' .. job.holder .. ':jobs', job.id) == 0 then return end
  local tech = Tech.load(zone.tag .. 'tech:' .. job.holder)
  if not tech then return end
  Load.remove(zone, job, tech)
  redis.call('HSET', tech.key, 'free_at', zone.now)
  if tech.lat ~= '' then
    redis.call('HSET', job.key, 'track', string.format('%s %s %s %.0f %.0f %s', tech.id, tech.lat, tech.lon, tech.fix_at,
      zone.now, job.was or job.status))
  end
  if Supply.sync(zone, tech) then Supply.schedule_match(zone, tech) end
end

-- The work goes on after all: the job counts towards the holder's load as before.
function Capacity.occupy_again(zone, job)
  local key = zone.tag .. 'tech:' .. job.holder
  if redis.call('SISMEMBER', key .. ':jobs', job.id) == 1 then return end
  local tech = Tech.load(key)
  if not tech then return end
  redis.call('SADD', key .. ':jobs', job.id)
  Load.add(zone, job, tech)
  Supply.sync(zone, tech)
end

-- The holder leaves: the job is not among theirs any more, they are not asked for it again, and price proposals to
-- them or by them are closed, in case they are given the job once more.
function Capacity.remove_holder(zone, job, offers)
  Capacity.free(zone, job)
  redis.call('ZREM', zone.tag .. 'user:' .. job.holder .. ':jobs', job.id)
  redis.call('HDEL', job.key, 'proposal')
  redis.call('HSET', offers, job.holder, string.format('left 0 %.0f %.0f 0', zone.now, zone.now))
end
