-- Makes a technician the holder of a job, on both sides: the job's `holder` and card, and the technician's set of jobs,
-- schedule, load and place in the supply index. The card contains neither phone nor position, because events contain
-- the card and are replayed.
--- @include "lib/fix_rate"
--- @include "lib/load"
--- @include "lib/promise"
--- @include "lib/schedule"
--- @include "lib/supply"
local Holder = {}

function Holder.assign(zone, job, tech)
  job.unaccepted, job.holder, job.is_new_holder = '', tech.id, true
  job.is_just_assigned = true
  if zone.now - tech.fix_at > Promise.FRESH_MS then job.travel_ms = nil end
  job.card = '{"id":"' .. tech.id .. '","name":' .. tech.name .. ',"rating":' .. tech.rating .. '}'
  redis.call('SADD', tech.key .. ':jobs', job.id)
  redis.call('ZADD', zone.tag .. 'user:' .. tech.id .. ':jobs', job.created, job.id)
  if job.next_visit then Schedule.add(job, tech.key, job.next_visit) end
  if job.begins > zone.now then Load.add(zone, job, tech) else tech.load = tech.load + 1 end
  if tech.load >= tech.capacity then Supply.remove(zone, tech) end
  Supply.write(zone, tech, 'load', tech.load, 'accepted', tech.accepted + 1, 'free_at', zone.now,
    FixRate.follow_load(zone, tech))
end
