-- A dispute about a job. While it is open, only the command that resolves it is allowed. `args.members` holds its
-- members as the caller encoded them, first opened and then resolved; the job keeps them joined, and the dispute's id
-- leads to the job.
local Dispute = {}

-- How long the id of a resolved dispute leads to the job: recipients of the outcome read the dispute once more.
Dispute.RESOLVED_MS = 86400000

function Dispute.json(job, members)
  return '{' .. members .. ',"status":"' .. (job.frozen ~= '' and 'open' or 'resolved') .. '"}'
end

-- The same for all mediators, most of whom are not involved: with `reason` when it is opened.
function Dispute.summary_json(job, id, reason)
  return '{"id":"' .. id .. '","job":"' .. job.id .. '"' .. (reason and ',"reason":' .. reason or '') .. ',"status":"' ..
    (job.frozen ~= '' and 'open' or 'resolved') .. '"}'
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
