-- A day plan: a proposal of moves of booked jobs between technicians, in groups. Its hash has `day` (the date),
-- `fixed`, `actor` (who requested it), `state` (computing, ready, failed, applied), `until` (ms: when the computation
-- must have ended), `groups` and `unserved` (JSON), `expires` (ms: the end of the proposal) and `applied`: the numbers
-- of the groups that were applied, each after a space. engine/domain/day_plans.py reads it.
--- @include "lib/job"
--- @include "lib/plan"
--- @include "lib/relation"
--- @include "lib/schedule"
--- @include "lib/step"
--- @include "lib/tech"
--- @include "lib/travel_rule"
local DayPlan = {}

-- How long a plan can be applied once it is computed, and how long it can be read.
DayPlan.VALID_MS, DayPlan.KEPT_MS = 3600000, 86400000

function DayPlan.is_applied(applied, group)
  return string.find((applied or '') .. ' ', ' ' .. group .. ' ', 1, true) ~= nil
end

do
  local function are_too_close(rule, one, other)
    local free_ms = math.max(other.start - one.ends, one.start - other.ends) - rule.buffer_ms
    return free_ms < 0 or TravelRule.takes_longer(rule, math.min(one.ends, other.ends), one.lat, one.lon, other, free_ms)
  end

  -- Returns the reply word that refuses to move the job, or nil. Reads the job into `move.record`.
  local function job_refusal(zone, move, actor)
    move.step, move.record = Plan.parse(move.plan), Job.load(zone.tag .. 'job:' .. move.job)
    local job = move.record
    if not job or job.bp ~= move.bp or not Relation.any(job, actor, move.step.by) then return 'NOT_FOUND' end
    return Step.refusal(zone, job, move.step, actor, move.version)
  end

  -- Returns the reply word that refuses to give the technician the job, or nil; for a schedule conflict also the start
  -- and the end of the other visit.
  local function technician_refusal(zone, move, leaving, load_change)
    local tech, job = Tech.load(zone.tag .. 'tech:' .. move.technician), move.record
    local why = Tech.refusal(tech)
    if why then return why end
    if not string.find(' ' .. tech.services .. ' ', ' ' .. job.service .. ' ', 1, true) then return 'INVALID' end
    local from, to = Schedule.check(zone, job, tech, move.schedule, leaving)
    if from then return 'SCHEDULE_CONFLICT', from, to end
    local change = load_change[move.technician] or 0
    return change > 0 and tech.load + change > tech.capacity and 'AT_CAPACITY' or nil
  end

  -- Checks all moves of a group. Returns nil if all are possible, or else the refusal, whose last value is the job that
  -- prevents them. If a technician gives up a job in this group, its time and its share of their capacity count as
  -- free.
  function DayPlan.refusal(zone, moves, actor)
    local leaving, load_change = {}, {}
    for _, move in ipairs(moves) do
      local why = job_refusal(zone, move, actor)
      if why then return {why, '0', move.job} end
      local job = move.record
      leaving[job.id] = true
      if job.begins <= zone.now then
        if job.holder ~= '' then load_change[job.holder] = (load_change[job.holder] or 0) - 1 end
        load_change[move.technician] = (load_change[move.technician] or 0) + 1
      end
    end
    for _, move in ipairs(moves) do
      local why, from, to = technician_refusal(zone, move, leaving, load_change)
      if from then return {why, '0', from, to, move.job} end
      if why then return {why, '0', move.job} end
    end
    for _, move in ipairs(moves) do
      for _, other in ipairs(moves) do
        local one, two = move.record.next_visit, other.record.next_visit
        if move ~= other and move.technician == other.technician and one and two
          and are_too_close(TravelRule.parse(move.schedule), one, two) then
          return {'SCHEDULE_CONFLICT', '0', two.start, two.ends, move.job}
        end
      end
    end
  end
end
