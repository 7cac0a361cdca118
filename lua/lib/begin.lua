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

-- The events are appended, in order, and the verdict is remembered; the reply tells the job as the last step does. A
-- repeat is answered from the first event, or from the one whose `answers` is the plan of the step.
local function finish(z, log, j, events, by)
  local seq, shown = z.seq + 1, nil
  for _, event in ipairs(events) do
    event.bp, event.actor, event.cause, event.trace = j.bp, by.actor, by.cause, by.trace
    local at = append(z, log, event)
    shown = event.shown or shown
    if event.answers then
      -- Only `append` knows the place of an event that comes after others, so `moving` could not write it.
      local text = string.format('%.0f', at)
      j.last = event.answers.command .. ' ' .. by.actor .. ' ' .. text
      if event.answers.does == 'take' then j.claimed = text .. ' ' .. j.version end
      redis.call('HSET', j.key, 'last', j.last, 'claimed', j.claimed)
      seq = at
    end
  end
  if by.req then remember(by.req, by.fingerprint, seq, j.version, j.id, 600000, by.causes) end
  leave(z)
  return {'OK', '0', seq, j.version, j.id, shown}
end
