-- The input of a matching window for a job that waits: whether the engine may assign the job now, and the nearest
-- technicians who fit. The functions that waves use decide who fits (lib/candidates).
--- @include "lib/candidates"
--- @include "lib/eligibility"
--- @include "lib/geo"
--- @include "lib/job"
--- @include "lib/limits"
--- @include "lib/search"
--- @include "lib/tech"
--- @include "lib/travel_rule"
--- @include "lib/wave"
--- @include "lib/window"
local Matching = {}

-- The number of technicians after which a call returns, the most searches for one job, and the most people around a job
-- whom is_nobody_nearer_busy reads.
Matching.MAX_VISITS, Matching.MAX_SEARCHES, Matching.MAX_PEOPLE = 1024, 8, 64

-- Returns the job and the rule of its windows. If no window may assign the job now, the second value is the reason
-- (text).
function Matching.load(zone, key)
  local job = Job.load(key)
  if not job or job.mode ~= 'allocate' or not Job.is_searching(job) then return job, 'not_searching' end
  if job.frozen ~= '' then return job, 'frozen' end
  Candidates.load_search_fields(job)
  job.walk = ''
  if job.release > zone.now then return job, 'too_early' end
  return job, job.window and Window.parse(job.window) or 'no_window'
end

-- Returns the state of a search for at most rule.k technicians within `reach_m`, whose `schedule` (the text of a rule
-- of lib/travel_rule) leaves them time.
function Matching.new_wave(zone, job, rule, reach_m, schedule)
  local wave = Wave.new(zone, job, rule.k, reach_m, rule.weights, Limits.parse(''))
  wave.by_distance = wave.nearest
  wave.explains, wave.nearest, wave.rule = true, true, TravelRule.parse(schedule)
  Wave.resume(zone, job, wave)
  return wave
end

-- Finds the nearest technicians who fit, in wave.fit. If the customer's preferred technician fits, they are the only
-- candidate, at any distance in the zone.
function Matching.search(zone, job, offers, supply, wave)
  if Wave.take_preferred(zone, job, offers, wave) then
    wave.fit = {wave.preferred}
    return
  end
  local done, searches = false, 0
  repeat
    if wave.dense then done = Search.by_rank(zone, job, offers, supply, wave)
    else done = Search.by_radius(zone, job, offers, supply, wave) end
    searches = searches + 1
  until done and not wave.dense or wave.visited >= Matching.MAX_VISITS or searches >= Matching.MAX_SEARCHES
end

-- Returns whether no technician nearer than `far_m` could become free for the job: there is no online technician at
-- capacity who provides its service. Then waiting would find nobody nearer, and the job's reach is ignored.
function Matching.is_nobody_nearer_busy(zone, job, offers, far_m)
  local people = redis.call('GEOSEARCH', zone.tag .. 'people', 'FROMLONLAT', job.lon, job.lat, 'BYRADIUS', far_m, 'm',
    'COUNT', Matching.MAX_PEOPLE, 'ANY')
  if #people == Matching.MAX_PEOPLE then return false end
  for _, id in ipairs(people) do
    local tech = Tech.load(zone.tag .. 'tech:' .. id)
    if Eligibility.exclusion(zone, job, tech) == 'at_capacity'
      and string.find(' ' .. tech.services .. ' ', ' ' .. job.service .. ' ', 1, true)
      and not Limits.previous_answer(redis.call('HGET', offers, id)) then return false end
  end
  return true
end

-- Returns the largest distance (m) of a search for the job.
function Matching.farthest_m(rule) return rule.radius_m > 0 and rule.radius_m or Geo.WHOLE_EARTH_M end

-- Call this for a job for which nobody fits within its reach. Returns the wave of the nearest technician beyond the
-- reach, if waiting would find nobody nearer; otherwise nil.
function Matching.search_beyond(zone, job, offers, supply, rule, schedule)
  local wave = Matching.new_wave(zone, job, rule, Matching.farthest_m(rule), schedule)
  wave.size = 1
  Matching.search(zone, job, offers, supply, wave)
  local fit = wave.fit[1]
  return fit and Matching.is_nobody_nearer_busy(zone, job, offers, fit.far) and wave or nil
end

-- Returns one candidate for the caller: id, distance (m), and the parts of the score (lib/ranking). If the other parts
-- have no weight, only the first part is returned, because formatting them took a quarter of the time of a view.
function Matching.candidate_text(zone, wave, fit)
  if wave.by_distance then
    return fit.id .. ' ' .. math.floor(fit.far + fit.uncertainty_m + 0.5) .. ' ' .. math.floor(fit.score * 1000 + 0.5) / 1000
  end
  return string.format('%s %.0f %.3f %.3f %.3f %.3f %.3f', fit.id, fit.far + fit.uncertainty_m,
    select(2, wave.score(zone, fit, fit.rating, fit.workload)))
end
