--[[ job_overdue: informs that the promised arrival of a job's technician has passed. Its scheduled task is
`promise:<job>`; the script changes nothing if the technician has arrived, or if this was already reported.
KEYS    meta  job  due  log
ARGV    epoch  entry  bp  audience
OK      seq  version
ERR     STALE_EPOCH  OTHER_BLUEPRINT
EMITS   job.late
]]
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/missed_promise"
--- @include "lib/promise"
--- @include "lib/zone"
local meta, job_key, due, log = unpack(KEYS)
local epoch, entry, bp, audience = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if job and job.bp ~= bp then return {'OTHER_BLUEPRINT', job.bp} end
if not job or not Promise.watch(job.promise) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
local at = Promise.time(job.promise)
if at > zone.now then
  redis.call('ZADD', due, at, entry)
  return {'OK', '0', 0, 0}
end
local seq = EventLog.append(zone, log, MissedPromise.event(zone, job, audience))
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version}
