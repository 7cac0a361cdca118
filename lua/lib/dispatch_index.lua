-- Adds a job to the indexes of jobs that look for a technician, and removes it. Only this file writes the entries of a
-- search to the indexes.
--- @include "lib/job_fields"
--- @include "lib/offers"
--- @include "lib/window"
local DispatchIndex = {}

-- Returns when a search starts (ms). The search for a scheduled job starts at the job's release, or at once if the job
-- accepts bids or asks one technician: bids and answers need time themselves.
function DispatchIndex.start_time(zone, job, release)
  return (job.mode == 'bids' or job.mode == 'direct') and zone.now or math.max(zone.now, release)
end

-- Starts the search at `at` (ms), for `lifetime_ms`; 0 = without end. If nobody can get the job before its time
-- (`job.waits`), the lifetime counts from that time on. A search for a job whose time is near lasts at least until
-- then.
function DispatchIndex.add(zone, job, at, lifetime_ms)
  local due = zone.tag .. 'due'
  at = DispatchIndex.start_time(zone, job, at)
  JobFields.set(job.key, 'release', string.format('%.0f', at))
  if lifetime_ms > 0 then
    local scheduled = job.scheduled or redis.call('HGET', job.key, 'scheduled')
    job.expires = (job.waits and math.max(at, job.begins) or at) + lifetime_ms
    if job.begins <= zone.now then job.expires = math.max(job.expires, tonumber(scheduled) or 0) end
    redis.call('ZADD', due, job.expires, 'expire:' .. job.id)
  end
  if job.mode == 'direct' then return end
  local rule = job.mode == 'allocate' and at <= zone.now and Window.rule(job)
  if job.mode == 'allocate' and not rule then return redis.call('ZADD', due, at, 'allocate:' .. job.id .. ':1') end
  local row = job.lon and {job.lon, job.lat} or redis.call('HMGET', job.key, 'lon', 'lat')
  if rule then return DispatchIndex.wait_for_window(zone, job, row[1], row[2], rule) end
  redis.call('GEOADD', zone.tag .. 'demand:' .. job.service, row[1], row[2], job.id)
  redis.call('ZADD', due, at, 'wave:' .. job.id .. ':1')
end

-- The job waits for matching windows from now on. If they find no technician, the next round of the scheduled task
-- reports it.
function DispatchIndex.wait_for_window(zone, job, lon, lat, rule)
  Window.add(zone, job, lon, lat, rule)
  local reported_at = zone.now + Window.REPORTED_AFTER * rule.length_ms
  redis.call('ZADD', zone.tag .. 'due', reported_at, 'allocate:' .. job.id .. ':1')
end

-- Returns whether the search was postponed after its entry had been taken as due. The entry is then due at the new
-- time.
function DispatchIndex.is_postponed(zone, job, entry)
  local release = job.release or tonumber(redis.call('HGET', job.key, 'release')) or 0
  if release > zone.now then redis.call('ZADD', zone.tag .. 'due', release, entry) end
  return release > zone.now
end

-- Ends the search, before or after the job moves. `mode` is how the job was dispatched. The radius of the last wave
-- shows whether the job is in the `wide` index.
function DispatchIndex.remove(zone, job, mode)
  local next = job.id .. ':' .. job.wave + 1
  redis.call('ZREM', zone.tag .. 'demand:' .. job.service, job.id)
  if mode == 'allocate' then Window.remove(zone, job) end
  if job.radius == '0' then redis.call('ZREM', zone.tag .. 'wide:' .. job.service, job.id) end
  redis.call('ZREM', zone.tag .. 'due', 'expire:' .. job.id, (mode == 'allocate' and 'allocate:' or 'wave:') .. next)
end

-- Starts the search again from wave one. Earlier offers are closed.
function DispatchIndex.reopen(zone, job, offers, lifetime_ms)
  local all = redis.call('HGETALL', offers)
  for i = 1, #all, 2 do
    local status, rest = string.match(all[i + 1], '^(%S+)( .*)$')
    if status == 'sent' or status == 'accepted' then Offers.put(offers, all[i], 'expired' .. rest) end
  end
  JobFields.set(job.key, 'wave', 0, 'walk', '')
  job.wave = 0
  DispatchIndex.add(zone, job, tonumber(redis.call('HGET', job.key, 'release')) or 0, lifetime_ms)
end

-- Starts the search again from wave one, for another place, service or time. Open offers stay open.
function DispatchIndex.restart(zone, job, at, lifetime_ms)
  JobFields.set(job.key, 'wave', 0, 'walk', '')
  job.wave = 0
  DispatchIndex.add(zone, job, at, lifetime_ms)
end
