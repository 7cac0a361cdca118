--[[ job_track: shares the position of a job's holder from now on, if the job's time is near enough. Its scheduled task
is `track:<job>`; the script changes nothing if the position is shared already, or must not be shared any more.
KEYS    meta  job  due
ARGV    epoch  entry
OK      seq  version
ERR     STALE_EPOCH
EMITS   session.job
TOUCHES {z}:log  {z}:tech:*:jobs  {z}:tech:*:tracked  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/tracking"
--- @include "lib/zone"
local meta, job_key, due = unpack(KEYS)
local epoch, entry = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
redis.call('ZREM', due, entry)
local job = Job.load(job_key)
if job then Tracking.update(zone, job) end
EventLog.record_jobs(zone)
return {'OK', '0', 0, 0}
