--- @include "lib/verdict"
--- @include "lib/job"
--- @include "lib/append"
-- How every verb begins and ends that takes a step of a job's blueprint. `by` is who asks: the blueprint that they take
-- the job for (`bp`), `actor`, `cause` and `trace` for the events, and, where there is a request key, its `req`,
-- `fingerprint` and the job's `causes`.

-- The job, and what to answer at once: it is of another blueprint, or this was answered before. Who may do what, and
-- how they are answered, only the job's own blueprint says.
local function begin(z, job, by)
  local j = job_load(job)
  if j and j.bp ~= by.bp then return j, {'OTHER_BLUEPRINT', j.bp} end
  return j, by.req and remembered(by.req, by.fingerprint, by.causes, z, j)
end

-- The verdict is remembered and the events are appended, in order; the reply tells the job as the last step does.
local function finish(z, log, j, events, by)
  local seq, shown = events.seq or z.seq + 1, nil
  if by.req then remember(by.req, by.fingerprint, seq, j.version, j.id, 600000, by.causes) end
  for _, event in ipairs(events) do
    event.bp, event.actor, event.cause, event.trace = j.bp, by.actor, by.cause, by.trace
    append(z, log, event)
    shown = event.shown or shown
  end
  leave(z)
  return {'OK', '0', seq, j.version, j.id, shown}
end
