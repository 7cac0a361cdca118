-- A technician's schedule: the times and places of their work on the jobs that they hold. `{z}:tech:<id>:plan` is a
-- zset of visits: score = start (ms), member = `end job lat lon`. A job with `scheduled_for` is in it from that time
-- until its duration later; any other job from the step that gave it to them until travel and duration later. Jobs of
-- blueprints that are not exclusive are not in it.
--   `visit` in the job's record is `start end lat lon`. It stays when the holder is freed, for a resumption.
--- @include "lib/geo"
--- @include "lib/job_fields"
--- @include "lib/travel_rule"
local Schedule = {}

-- Visits that begin at most SPAN_MS before a new visit or after it are compared with it: 24 h, the longest duration,
-- and half a day for travel and buffer. More than MAX_VISITS of them are a conflict. DURATION_MIN is the duration of a
-- job of an older release, whose record has none.
Schedule.SPAN_MS, Schedule.MAX_VISITS, Schedule.DURATION_MIN = 129600000, 64, 60

-- Reads the time and the place of the job, and the customer's phone, unless Candidates.load_search_fields has read
-- them.
function Schedule.load(job)
  local row = redis.call('HMGET', job.key, 'scheduled', 'lat', 'lon', 'contact')
  job.scheduled, job.lat, job.lon, job.contact = row[1], row[2], row[3], row[4]
end

function Schedule.duration_ms(job)
  local _, last = string.find(job.pub, '"duration_min":', 1, true)
  return (last and tonumber(string.match(job.pub, '^%d+', last + 1)) or Schedule.DURATION_MIN) * 60000
end

-- Returns the rule (its text is `rule_text`) by which nobody whose time is taken is asked for the job; nil if time does
-- not matter yet. A bid for a job without a time takes no time of the technician before the customer accepts the bid.
function Schedule.rule_of_search(job, rule_text)
  if job.mode == 'bids' and (tonumber(job.scheduled) or 0) == 0 then return nil end
  return TravelRule.parse(rule_text)
end

-- Returns the visit of the job for a technician `distance_m` from its place (nil: unknown). If the visit begins late,
-- it also ends later.
function Schedule.visit_of(zone, job, rule, distance_m)
  local scheduled, begins = tonumber(job.scheduled) or 0, zone.now
  if scheduled > 0 then begins = math.max(begins, scheduled)
  elseif distance_m then job.travel_ms = TravelRule.travel_ms(rule, begins, distance_m) end
  begins = begins + (job.travel_ms or 0)
  return {is_booked = scheduled > 0, start = scheduled > 0 and scheduled or zone.now, lat = job.lat, lon = job.lon,
    ends = begins + Schedule.duration_ms(job)}
end

-- Returns the visit in a technician's schedule with which this one is in conflict: its start, its end and its job; nil
-- if there is none. An overdue visit in the schedule counts as if it ended now. A job without a time is compared only
-- with booked visits that begin later, because other jobs without a time can run at the same time, up to the
-- technician's capacity. The jobs in `leaving` (ids), which the technician gives up in the same step, do not count.
function Schedule.conflict(zone, job, tech_key, rule, visit, leaving)
  if visit.is_booked and not rule.exclusive then return nil end
  local found = redis.call('ZRANGEBYSCORE', tech_key .. ':plan',
    visit.is_booked and visit.start - Schedule.SPAN_MS or '(' .. string.format('%.0f', zone.now),
    visit.ends + Schedule.SPAN_MS, 'WITHSCORES', 'LIMIT', 0, Schedule.MAX_VISITS + 1)
  for i = 1, #found, 2 do
    local ends, id, lat, lon = string.match(found[i], '^(%S+) (%S+) (%S+) (%S+)$')
    if id ~= job.id and not (leaving and leaving[id]) then
      local start = tonumber(found[i + 1])
      ends = math.max(tonumber(ends), zone.now)
      local free_ms = math.max(start - visit.ends, visit.start - ends) - rule.buffer_ms
      if free_ms < 0 or #found > 2 * Schedule.MAX_VISITS
        or TravelRule.takes_longer(rule, math.min(ends, visit.ends), lat, lon, visit, free_ms) then return start, ends, id end
    end
  end
end

-- Checks the job for the technician who is to get it. Sets `job.next_visit`, which Holder.assign adds to the schedule.
-- Returns what Schedule.conflict returns.
function Schedule.check(zone, job, tech, rule_text, leaving)
  local rule = TravelRule.parse(rule_text)
  if job.scheduled == nil then Schedule.load(job) end
  local visit = Schedule.visit_of(zone, job, rule,
    tech.lat ~= '' and Geo.distance_m(tech.lat, tech.lon, job.lat, job.lon) or nil)
  job.next_visit = rule.exclusive and visit
  return Schedule.conflict(zone, job, tech.key, rule, visit, leaving)
end

-- Adds a visit. The job's record gets it with the other fields of the step.
function Schedule.add(job, tech_key, visit)
  local place, ends = visit.lat .. ' ' .. visit.lon, visit.ends .. ' '
  job.visit = visit.start .. ' ' .. ends .. place
  redis.call('ZADD', tech_key .. ':plan', visit.start, ends .. job.id .. ' ' .. place)
  JobFields.set_with_step(job, 'visit', job.visit)
end

-- Returns the score and the member of a visit.
function Schedule.entry(id, visit)
  local start, ends, place = string.match(visit, '^(%S+) (%S+) (.*)$')
  return start, ends .. ' ' .. id .. ' ' .. place
end

-- Removes the job from the schedule of its holder. Schedule.put_back adds it again when the work is resumed.
function Schedule.remove(job, tech_key)
  if job.visit then redis.call('ZREM', tech_key .. ':plan', select(2, Schedule.entry(job.id, job.visit))) end
end
function Schedule.put_back(job, tech_key)
  if job.visit then redis.call('ZADD', tech_key .. ':plan', Schedule.entry(job.id, job.visit)) end
end
