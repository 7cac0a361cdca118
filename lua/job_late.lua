--[[ job_late: informs ops that a job has been in a state for too long. Its scheduled task is
`timer:<job>:<entered>:<index>`; the script changes nothing if the job has changed its state.
KEYS    meta  job  due  log
ARGV    epoch  entry  bp  entered  step  audience
OK      seq  version
ERR     STALE_EPOCH  OTHER_BLUEPRINT
EMITS   job.late
]]
--- @include "lib/audience"
--- @include "lib/event_log"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/timers"
--- @include "lib/zone"
local meta, job_key, due, log = unpack(KEYS)
local epoch, entry, bp, entered, step, audience = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if job and job.bp ~= bp then return {'OTHER_BLUEPRINT', job.bp} end
redis.call('ZREM', due, entry)
if not job or job.entered ~= entered or step == '' then return {'OK', '0', 0, 0} end
Timers.finish(job_key, entry)
local since = tonumber(redis.call('HGET', job_key, 'since') or job.updated)
local seq = EventLog.append(zone, log, {type = 'job.late', to = Audience.channels(audience, job), bp = job.bp,
  data = '{"job":{"id":"' .. job.id .. '"},"status":"' .. job.status .. '","since":' .. Iso.format(since) ..
    ',"step":"' .. step .. '"}'})
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version}
