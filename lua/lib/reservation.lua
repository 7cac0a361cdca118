-- Chooses a technician in the step that creates a job, and gives the job to them. A reservation is a text of four
-- lines: the rule of lib/schedule, the weights of the score (lib/ranking), the candidates (ids), and the plan of the
-- engine's step that assigns them. engine/domain/slots.py packs it; '' = the booking reserves nobody.
--- @include "lib/apply_step"
--- @include "lib/geo"
--- @include "lib/job"
--- @include "lib/named_technician"
--- @include "lib/plan"
--- @include "lib/ranking"
--- @include "lib/schedule"
--- @include "lib/tech"
--- @include "lib/travel_rule"
local Reservation = {}

-- The most visits of one technician that a list may have.
Reservation.MAX_LISTED = 1000

-- Returns why this technician could not get a job of this service and customer even with an empty schedule; nil if they
-- could. For a job that begins now, they must also be below their capacity.
function Reservation.exclusion(zone, tech, service, customer, begins)
  return NamedTechnician.exclusion(zone, tech, service, customer)
    or begins <= zone.now and tech.load >= tech.capacity and 'at_capacity' or nil
end

-- Returns the best candidate who can take the job at its time: the preferred one if they can, otherwise the one with
-- the lowest score. Sets `job.next_visit` to the visit that Holder.assign adds to the schedule. If nobody can take the
-- job, returns nil and the start and the end of the wanted time (ms).
function Reservation.choose(zone, job, reservation, preferred)
  local schedule, weights, candidates = string.match(reservation, '^(.-)\n(.-)\n(.-)\n')
  if not schedule then return nil end
  local rule, score, best = TravelRule.parse(schedule), Ranking.scorer(weights, 0), nil
  local visit, distance_to = Schedule.visit_of(zone, job, rule), Geo.distances_from(job.lat, job.lon)
  for id in string.gmatch(candidates, '%S+') do
    local tech = Tech.load(zone.tag .. 'tech:' .. id)
    if not Reservation.exclusion(zone, tech, job.service, job.customer, job.begins)
      and not Schedule.conflict(zone, job, zone.tag .. 'tech:' .. id, rule, visit) then
      local far = tech.lat ~= '' and distance_to(tech.lat, tech.lon) or Geo.WHOLE_EARTH_M
      local fit = {id = id, far = far, uncertainty_m = Tech.uncertainty_m(tech.acc), tech = tech}
      fit.score = id == preferred and -math.huge or score(zone, fit, tech.rating, tech.load / tech.capacity)
      if not best or Ranking.precedes(fit, best) then best = fit end
    end
  end
  if not best then return nil, string.format('%.0f', visit.start), string.format('%.0f', visit.ends) end
  job.next_visit = visit
  return best.tech
end

-- Returns the visits of a schedule with which a job between two times (ms) would be compared, as texts; nil if there
-- are more than MAX_LISTED.
function Reservation.visits_between(tech_key, from, to)
  local found = redis.call('ZRANGEBYSCORE', tech_key .. ':plan', from - Schedule.SPAN_MS, to + Schedule.SPAN_MS,
    'WITHSCORES', 'LIMIT', 0, Reservation.MAX_LISTED + 1)
  if #found > 2 * Reservation.MAX_LISTED then return nil end
  local visits = {}
  for i = 1, #found, 2 do
    local ends, lat, lon = string.match(found[i], '^(%S+) %S+ (%S+) (%S+)$')
    visits[#visits + 1] = string.format('%.0f %s %s %s', found[i + 1], ends, lat, lon)
  end
  return visits
end

-- Gives the new job to the technician (nil: to nobody), by the engine's step of the blueprint. Returns the job after
-- the step and the events of the step.
function Reservation.assign(zone, created, offers, reservation, tech)
  if not tech then return created, {} end
  local job, plan_json = Job.load(created.key), string.match(reservation, '^.-\n.-\n.-\n(.*)$')
  job.next_visit, job.timers_from = created.next_visit, created.begins
  local events = ApplyStep.run(zone, job, offers, Plan.parse(plan_json), {}, 'engine', tech)
  for _, event in ipairs(events) do event.bp, event.actor = job.bp, 'engine' end
  return job, events
end
