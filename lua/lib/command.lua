-- The first and the last part of every script that runs a command of a job's blueprint. `request` describes the
-- request: the blueprint that the caller assumed (`bp`); `actor`, `cause` and `trace` for the events; and, if it has an
-- idempotency key, the key's `req` and `fingerprint` and the job's `causes`.
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/job"
local Command = {}

-- Returns the job, and a reply if the script must return at once: the job has another blueprint, or the idempotency key
-- was answered before. Only the job's own blueprint defines who may give which command and what the reply contains. The
-- third value is true if the first request with this key changed nothing (`Idempotency.answer_unchanged`).
function Command.begin(zone, job_key, request)
  local job = Job.load(job_key)
  if job and job.bp ~= request.bp then return job, {'OTHER_BLUEPRINT', job.bp} end
  local again = request.req and Idempotency.lookup(request.req, request.fingerprint, request.causes, zone, job)
  if again and again[1] == 'OK' and again[3] == '0' then return job, nil, true end
  return job, again
end

-- Returns the refusal NOT_FOUND. It is not stored if the job is not in Redis: the caller may then restore a finished
-- job from SQL and repeat under the same key.
function Command.not_found(job, req, fingerprint)
  return job and Idempotency.refuse(req, fingerprint, 'NOT_FOUND') or {'NOT_FOUND', '0'}
end

-- Completes the events of a job's step: numbers them from the seq `first`, and adds who caused them and the job's last
-- step. Returns two seqs. The first is for the reply to a repeat: it is the seq of the first event, or of the event
-- whose `answers` is the plan of the step. The second is the seq after the last event.
function Command.number(job, events, request, first)
  local seq, next_seq = first, first
  for _, event in ipairs(events) do
    event.bp, event.actor, event.cause, event.trace = job.bp, request.actor, request.cause, request.trace
    if event.answers then
      -- ApplyStep cannot know the seq of an event that follows others.
      job.last = event.answers.command .. ' ' .. request.actor .. ' ' .. next_seq
      if event.answers.effect == 'take' then job.claimed = next_seq .. ' ' .. job.version end
      redis.call('HSET', job.key, 'last', job.last, 'claimed', job.claimed)
      seq = next_seq
    end
    next_seq = next_seq + EventLog.count_entries(event)
  end
  return seq, next_seq
end

-- Appends the events in order and stores the idempotency record. The reply contains the job as in the last event.
function Command.finish(zone, log, job, events, request)
  local seq, shown = Command.number(job, events, request, zone.seq + 1), nil
  for _, event in ipairs(events) do
    EventLog.append(zone, log, event)
    shown = event.shown or shown
  end
  if request.req then
    Idempotency.store(request.req, request.fingerprint, seq, job.version, job.id, Idempotency.STEP_MS, request.causes)
  end
  EventLog.save_seq(zone)
  return {'OK', '0', seq, job.version, job.id, shown}
end
