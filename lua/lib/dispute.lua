-- A dispute about a job. While it is open, only the command that resolves it is allowed. `args.members` are its members
-- as JSON, encoded by the caller once when it opens and once when it is resolved. The job stores both texts joined, and
-- the key of the dispute's id contains the job's id.
local Dispute = {}

-- The TTL of the key of a resolved dispute: recipients of the outcome read the dispute once more by its id.
Dispute.RESOLVED_MS = 86400000

function Dispute.json(job, members)
  return '{' .. members .. ',"status":"' .. (job.frozen ~= '' and 'open' or 'resolved') .. '"}'
end

-- Returns the dispute for the event to all mediators, most of whom are not involved. The result has the `reason` when
-- the dispute is opened.
function Dispute.summary_json(job, id, reason)
  return '{"id":"' .. id .. '","job":"' .. job.id .. '"' .. (reason and ',"reason":' .. reason or '') ..
    ',"status":"' .. (job.frozen ~= '' and 'open' or 'resolved') .. '"}'
end

function Dispute.open(zone, job, args, now)
  local members = args.members .. ',"opened_at":' .. now
  job.frozen = args.dispute
  redis.call('HSET', job.key, 'dispute', members, 'frozen', job.frozen)
  redis.call('SET', zone.tag .. 'dispute:' .. args.dispute, job.id)
  redis.call('ZADD', zone.tag .. 'disputes', zone.now, job.id)
  job.dispute = Dispute.summary_json(job, args.dispute, args.reason)
  return Dispute.json(job, members)
end

function Dispute.resolve(zone, job, args, now)
  local members = redis.call('HGET', job.key, 'dispute') .. ',' .. args.members .. ',"resolved_at":' .. now
  redis.call('PEXPIRE', zone.tag .. 'dispute:' .. job.frozen, Dispute.RESOLVED_MS)
  redis.call('ZREM', zone.tag .. 'disputes', job.id)
  redis.call('HSET', job.key, 'dispute', members, 'frozen', '')
  local id = job.frozen
  job.frozen = ''
  job.dispute = Dispute.summary_json(job, id)
  return Dispute.json(job, members)
end
