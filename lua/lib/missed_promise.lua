-- The event `job.late` with the step `promise`: a technician has not come, or will probably not come, at the promised
-- time.
--- @include "lib/audience"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/promise"
local MissedPromise = {}

-- Returns the event, and ends the watch, so that the event is emitted only once.
function MissedPromise.event(zone, job, audience)
  Promise.stop(zone, job)
  return {type = 'job.late', to = Audience.channels(audience, job), bp = job.bp, data = '{"job":{"id":"' .. job.id ..
    '"},"status":"' .. job.status .. '","since":' .. Iso.format(zone.now) .. ',"step":"promise"}'}
end

-- Adds the event if the technician on the way to the job will probably (P50) arrive at `arrives_at` (ms), after the
-- promise. `job` has `id promise`.
function MissedPromise.follow_fix(zone, job, arrives_at, audience, events)
  if not Promise.watch(job.promise) or arrives_at <= Promise.time(job.promise) then return end
  events[#events + 1] = MissedPromise.event(zone, Job.load(zone.tag .. 'job:' .. job.id), audience)
end
