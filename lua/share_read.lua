--[[ share_read: reads the part of a job that a link shows, if the link is open now. The caller knows `ending`, the end
of the link's id. `is_there` is 1 if the technician has arrived.
KEYS    meta  job
ARGV    epoch  ending
OK      seq  version  maker  status  phase  bp  customer  is_there
ERR     STALE_EPOCH  NOT_FOUND
FLAGS   allow-oom
]]
--- @include "lib/job"
--- @include "lib/shares"
--- @include "lib/zone"
local meta, job_key = unpack(KEYS)
local epoch, ending = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if not job or not Shares.may_have(job) then return {'NOT_FOUND', '0'} end
for _, share in ipairs(Shares.open(zone, job_key)) do
  if string.sub(share.id, -#ending) == ending then
    local arrival = redis.call('HGET', job_key, 'arrival') or ''
    local holder, stage = string.match(arrival, '^(%S+) (%S+)') -- packed by lib/arrival
    local is_there = holder == job.holder and stage == 'there'
    return {'OK', '0', zone.seq, job.version, string.match(share.text, '(%S+)$'), job.status, job.phase, job.bp,
      job.customer, is_there and '1' or '0'}
  end
end
return {'NOT_FOUND', '0'}
