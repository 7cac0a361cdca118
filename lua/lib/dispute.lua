-- A dispute about a job. While it is open, only the command that resolves it is allowed. `args.members` are its members
-- as JSON, encoded by the caller once when it opens and once when it is resolved. The job stores both texts joined, and
-- the key of the dispute's id contains the job's id. The job's field `mediator` is the actor who took the open dispute,
-- or ''.
--- @include "lib/job_fields"
local Dispute = {}

-- The TTL of the key of a resolved dispute: recipients of the outcome read the dispute once more by its id.
Dispute.RESOLVED_MS = 86400000

-- `mediator` is the actor who took an open dispute. The `members` of a resolved dispute contain its mediator.
function Dispute.json(job, members, mediator)
  local role, id = string.match(mediator or '', '^([^:]*):(.*)$')
  return '{' .. members .. (id and ',"mediator":{"id":"' .. id .. '","role":"' .. role .. '"}' or '') ..
    ',"status":"' .. (job.frozen ~= '' and 'open' or 'resolved') .. '"}'
end

-- Returns the last dispute of the job as it is now.
function Dispute.present_json(job)
  return Dispute.json(job, unpack(redis.call('HMGET', job.key, 'dispute', 'mediator')))
end

-- Returns the id of the mediator who took the open dispute, or ''.
function Dispute.mediator_id(job)
  return string.match(redis.call('HGET', job.key, 'mediator') or '', ':(.*)$') or ''
end

-- Returns why the actor may not resolve `dispute` (nil: the dispute that is open now), or nil.
function Dispute.refusal(job, dispute, actor)
  if dispute and dispute ~= job.frozen then return 'ILLEGAL_TRANSITION' end
  local mediator = Dispute.mediator_id(job)
  return mediator ~= '' and mediator ~= string.match(actor, ':(.*)$') and 'TAKEN' or nil
end

-- Returns the dispute for the event to all mediators, most of whom are not involved. The result has the `reason` when
-- the dispute is opened.
function Dispute.summary_json(job, id, reason)
  return '{"id":"' .. id .. '","job":"' .. job.id .. '"' .. (reason and ',"reason":' .. reason or '') ..
    ',"status":"' .. (job.frozen ~= '' and 'open' or 'resolved') .. '"}'
end

-- Returns the summary of the open dispute, with its reason.
function Dispute.open_summary_json(job)
  local members = redis.call('HGET', job.key, 'dispute')
  return Dispute.summary_json(job, job.frozen, string.match(members, ',"reason":(.*),"opened_at":'))
end

function Dispute.open(zone, job, args, now)
  local members = args.members .. ',"opened_at":' .. now
  job.frozen = args.dispute
  JobFields.set(job.key, 'dispute', members, 'frozen', job.frozen, 'mediator', '')
  redis.call('SET', zone.tag .. 'dispute:' .. args.dispute, job.id)
  redis.call('ZADD', zone.tag .. 'disputes', zone.now, job.id)
  job.dispute = Dispute.summary_json(job, args.dispute, args.reason)
  return Dispute.json(job, members)
end

function Dispute.resolve(zone, job, args, now)
  local members = redis.call('HGET', job.key, 'dispute') .. ',' .. args.members .. ',"resolved_at":' .. now
  redis.call('PEXPIRE', zone.tag .. 'dispute:' .. job.frozen, Dispute.RESOLVED_MS)
  redis.call('ZREM', zone.tag .. 'disputes', job.id)
  JobFields.set(job.key, 'dispute', members, 'frozen', '', 'mediator', '')
  local id = job.frozen
  job.frozen = ''
  job.dispute = Dispute.summary_json(job, id)
  return Dispute.json(job, members)
end
