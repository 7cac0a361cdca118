-- The arrival of a technician at the place of a job, while they are on the way there: the events `technician.near` and
-- `technician.arrived`, each once for a job and its holder.
--   `arrival` in the job's record is `holder stage fixes`: stage is `near`, `there` (arrived), `left` (arrived and went
-- away) or `-`; `fixes` is the number of consecutive fixes that prove the arrival. `near` and `there` follow from the
-- events, whose actor is the holder. `left` and the count follow from the next fixes.
--- @include "lib/arrival_rule"
--- @include "lib/audience"
--- @include "lib/device"
--- @include "lib/geo"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/job_state"
--- @include "lib/missed_promise"
--- @include "lib/promise"
local Arrival = {}

-- An arrival needs fixes with an accuracy of at most ACCURACY_M, and a speed of at most SPEED m/s. A fix that is older
-- than FRESH_MS when it arrives proves nothing about the present position.
Arrival.ACCURACY_M, Arrival.SPEED, Arrival.FRESH_MS = 50, 3, 120000

-- Returns the speed in m/s: the measured speed, or else the distance from the previous fix, less the accuracy, divided
-- by the time. (Two positions of a phone that does not move differ by about the accuracy.) nil if no position was
-- measured before.
function Arrival.speed(measured, before, tech)
  if measured ~= '' then return tonumber(measured) end
  if before.acc == '' or not before.lat or before.lat == '' then return nil end
  local inexact = math.max(tonumber(before.acc) or 0, tonumber(tech.acc) or 0)
  local moved = math.max(0, Geo.distance_m(before.lat, before.lon, tech.lat, tech.lon) - inexact)
  return moved / math.max(1, tech.fix_at - before.fix_at) * 1000
end

-- Returns the stage after a fix that is `far` metres from the place, the count, and the events that happen with it.
function Arrival.advance(rule, stage, count, far, acc, speed)
  local kinds, is_exact = {}, acc <= Arrival.ACCURACY_M
  if stage == '-' and far <= rule.near_m and acc <= rule.near_m then
    stage = 'near'
    kinds[1] = 'technician.near'
  end
  if stage == 'there' then return is_exact and far > rule.leave_m and 'left' or stage, 0, kinds end
  count = is_exact and far <= rule.at_m and speed and speed <= Arrival.SPEED and count + 1 or 0
  if count < rule.fixes then return stage, count, kinds end
  if stage ~= 'left' then kinds[#kinds + 1] = 'technician.arrived' end
  return 'there', 0, kinds
end

-- Returns the likely travel time in seconds over `far` metres. `pace` is `seconds_per_km exponent`.
function Arrival.travel_s(pace, far)
  local per_km, exponent = string.match(pace, '^(%S+) (%S+)$')
  return tonumber(per_km) * (far / 1000) ^ tonumber(exponent)
end

-- Takes a fix of the technician who is on the way to the job, and adds the events that it causes. `job` has `id lat lon
-- entered travel arrival`. `measured` is the fix's speed in m/s or '', `before` the fix before; `pace` is the travel
-- time: `seconds_per_km exponent` (engine/rules/travel.py). Sets job.far (m)
-- and job.is_there.
function Arrival.follow(zone, job, tech, measured, before, pace, events)
  local rule = ArrivalRule.of(job)
  if not rule or zone.now - tech.fix_at > Arrival.FRESH_MS then return end
  local far = Geo.distance_m(job.lat, job.lon, tech.lat, tech.lon)
  job.far = far
  MissedPromise.follow_fix(zone, job, tech.fix_at + Arrival.travel_s(pace, far) * 1000, rule.audiences['job.late'], events)
  if not job.arrival and far > rule.near_m then return end
  local holder, was, had = string.match(job.arrival or '', '^(%S+) (%S+) (%d+)$')
  if holder ~= tech.id then was, had = '-', 0 end
  local speed = far <= rule.at_m and Arrival.speed(measured, before, tech)
  local stage, count, kinds = Arrival.advance(rule, was, tonumber(had), far, tonumber(tech.acc) or Device.GOOD_M, speed)
  job.is_there = stage == 'there'
  local key = zone.tag .. 'job:' .. job.id
  if stage ~= was or count ~= tonumber(had) then
    redis.call('HSET', key, 'arrival', string.format('%s %s %d', tech.id, stage, count))
  end
  if #kinds == 0 then return end
  JobState.note(key, 'arrival', string.format('%s %s %d', tech.id, stage, count))
  local record = Job.load(key)
  local eta_s = stage ~= 'there' and Arrival.travel_s(pace, far) or 0
  if stage == 'there' then Promise.stop(zone, record) end
  local data = string.format('{"job":{"id":"%s"},"eta_s":%.0f,"distance_m":%.0f,"at":%s}', job.id, eta_s, far,
    Iso.format(tech.fix_at))
  for _, kind in ipairs(kinds) do
    events[#events + 1] = {type = kind, to = Audience.channels(rule.audiences[kind], record), bp = record.bp,
      actor = 'technician:' .. tech.id, data = data}
  end
end
