-- Changes the visit of a job in its holder's schedule, when the time, the duration or the place of the job changes.
--- @include "lib/schedule"
--- @include "lib/travel_rule"
local ScheduleEdit = {}

-- `pub scheduled lat lon` are the new values. If the time, the duration or the place differs and somebody holds the job,
-- sets `job.next_visit` and returns what Schedule.conflict returns.
function ScheduleEdit.check(zone, job, rule_text, pub, scheduled, lat, lon)
  local key, before = zone.tag .. 'tech:' .. job.holder, {key = job.key, pub = job.pub}
  local after = {id = job.id, pub = pub, scheduled = scheduled, lat = lat, lon = lon}
  if job.holder == '' or redis.call('SISMEMBER', key .. ':jobs', job.id) == 0 then return nil end
  Schedule.load(before)
  if before.scheduled == scheduled and before.lat == lat and before.lon == lon
    and Schedule.duration_ms(before) == Schedule.duration_ms(after) then return nil end
  local rule = TravelRule.parse(rule_text)
  job.is_moved = before.scheduled ~= scheduled or before.lat ~= lat or before.lon ~= lon
  local visit = Schedule.visit_of(zone, after, rule)
  job.next_visit = rule.exclusive and visit
  return Schedule.conflict(zone, job, key, rule, visit)
end

function ScheduleEdit.apply(zone, job)
  if not job.next_visit then return end
  local key = zone.tag .. 'tech:' .. job.holder
  Schedule.remove(job, key)
  Schedule.add(job, key, job.next_visit)
end
