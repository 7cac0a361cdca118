--[[ job_list: lists the jobs in an index (of a user, or of the zone), newest first, and returns the zone's seq as of
this list. The list contains only the public part of a job that the `technician` has not accepted yet.
KEYS    meta  index
ARGV    epoch  technician  below  limit
OK      seq  version  (created  job) …
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/job"
--- @include "lib/zone"
local meta, index = unpack(KEYS)
local epoch, technician, below, limit = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local found = redis.call('ZREVRANGEBYSCORE', index, below, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
local reply = {'OK', '0', zone.seq, 0}
for i = 1, #found, 2 do
  local job = Job.load(zone.tag .. 'job:' .. found[i])
  if job then
    reply[#reply + 1] = found[i + 1]
    local asked = job.unaccepted == '1' and job.holder == technician
    reply[#reply + 1] = asked and Job.public_json(job, job.card) or Job.full_json(job)
  end
end
return reply
