-- The open jobs that a late joiner may be offered: a technician who came online, came nearer or became free.
--- @include "lib/candidates"
--- @include "lib/eligibility"
--- @include "lib/geo"
--- @include "lib/job"
--- @include "lib/limits"
--- @include "lib/schedule"
local LateJoin = {}

-- Returns open jobs of the technician's services; it reads at most `limit`. Jobs within `reach` metres are first, then
-- jobs whose present wave covers the whole zone.
function LateJoin.nearby_jobs(zone, tech, reach, limit)
  local found, looked, met = {}, 0, {}
  local function look(index, radius, wide)
    if radius <= 0 or looked >= limit then return end
    local near = redis.call('GEOSEARCH', index, 'FROMLONLAT', tech.lon, tech.lat, 'BYRADIUS', radius, 'm', 'COUNT',
      limit, 'ANY', 'ASC')
    for _, id in ipairs(near) do
      if not met[id] and looked < limit then
        met[id], looked = true, looked + 1
        local job = Job.load(zone.tag .. 'job:' .. id)
        if job and Candidates.is_inviting(job) then
          Candidates.load_search_fields(job)
          found[#found + 1] = job
        elseif wide then redis.call('ZREM', index, id) end
      end
    end
  end
  for service in string.gmatch(tech.services, '%S+') do look(zone.tag .. 'demand:' .. service, reach) end
  for service in string.gmatch(tech.services, '%S+') do
    look(zone.tag .. 'wide:' .. service, Geo.WHOLE_EARTH_M, true)
  end
  return found
end

-- Returns whether the job's present wave would make an offer to the technician: they fit, are inside the wave's radius
-- (or preferred), were not asked, are not blocked, have time, and are below the cap of open offers. `schedules` has the
-- rule of lib/travel_rule for each blueprint; it is nil if the technician has no visit.
function LateJoin.qualifies(zone, job, tech, far, schedules)
  if job.wave == 0 or Eligibility.exclusion(zone, job, tech) then return false end
  if job.radius > 0 and far > job.radius and tech.id ~= job.preferred then return false end
  if Limits.previous_answer(redis.call('HGET', job.key .. ':offers', tech.id)) then return false end
  if redis.call('SISMEMBER', zone.tag .. 'user:' .. job.customer .. ':blocks', tech.id) == 1 then return false end
  if job.mode == 'bids' and Limits.open_bidders({redis.call('HGET', job.key .. ':bids', tech.id)})[1] then
    return false
  end
  if Limits.open_offer_room(zone, job.key .. ':offers') < 1 then return false end
  local rule = schedules and schedules[job.bp] and Schedule.rule_of_search(job, schedules[job.bp])
  if rule and Candidates.is_busy(zone, job, {id = tech.id, far = job.far}, rule) then return false end
  local cap = Limits.parse(job.limits).cap
  return cap == 0 or not Limits.is_at_cap(zone, tech.id, {cap = cap, looks = Limits.JOIN_LOOKS})
end
