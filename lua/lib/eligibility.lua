-- Whether a technician may be offered a job, as far as their own record says.
--- @include "lib/geo"
--- @include "lib/summaries"
--- @include "lib/tech"
local Eligibility = {}

-- A position is stale when it is older than this.
Eligibility.FRESH_MS = 120000

-- Returns the oldest time (ms) of a position that is not stale. Soon after the zone was opened no position is stale,
-- because nobody could send one while the zone was closed.
function Eligibility.oldest_fix(zone)
  return zone.now - zone.opened > Eligibility.FRESH_MS and zone.now - Eligibility.FRESH_MS or 0
end

function Eligibility.exclusion(zone, job, tech)
  if not tech then return 'unknown' end
  local why = Tech.refusal(tech)
  if why then return string.lower(why) end
  if tech.online ~= '1' then return 'offline' end
  if tech.load >= tech.capacity then return 'at_capacity' end
  if tech.lat == '' then return 'no_position' end
  if tech.fix_at < Eligibility.oldest_fix(zone) then return 'stale_position' end
  if tech.services == job.service then return nil end
  return not string.find(' ' .. tech.services .. ' ', ' ' .. job.service .. ' ', 1, true) and 'service' or nil
end

-- Returns all reasons why the technician gets no offers now, in the order of `exclusion`.
function Eligibility.blockers(zone, tech)
  local why, stale = Tech.refusal(tech), tech.lat ~= '' and tech.fix_at < Eligibility.oldest_fix(zone)
  local found = {why and string.lower(why)}
  if tech.online ~= '1' then found[#found + 1] = 'offline' end
  if tech.load >= tech.capacity then found[#found + 1] = 'at_capacity' end
  if tech.lat == '' then found[#found + 1] = 'no_position' end
  if stale then found[#found + 1] = 'stale_position' end
  return found
end

-- Returns the function that judges one candidate by id and summary: it returns why they are left out, or nil and the
-- candidate, their rating and their workload. For most of those who fit, the summary is enough. A technician without a
-- summary, or whose summary does not fit, is judged by their record, which also has the reason.
function Eligibility.judge_of(zone, job)
  local distance_to, oldest = Geo.distances_from(job.lat, job.lon), Eligibility.oldest_fix(zone)
  local parse, find, service = Summaries.parse, string.find, Summaries.service_text(job.service)
  return function(id, summary)
    local lat, lon, fix_at, uncertainty_m, rating, workload, services = parse(summary)
    if not lat or fix_at + 0 < oldest or not find(services, service, 1, true) then
      local tech = Tech.load(zone.tag .. 'tech:' .. id)
      local why = Eligibility.exclusion(zone, job, tech)
      if why then return why end
      lat, lon, uncertainty_m, rating = tech.lat, tech.lon, Tech.uncertainty_m(tech.acc), tech.rating
      workload = tech.load / tech.capacity
    end
    return nil, {id = id, far = distance_to(lat, lon), uncertainty_m = uncertainty_m + 0, score = 0}, rating, workload
  end
end
