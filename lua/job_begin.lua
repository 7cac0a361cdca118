--[[ job_begin: adds a scheduled job to its holder's load when the job's time is near. Its scheduled task is
`begin:<job>`; the script changes nothing if the job counts already, or has no holder any more.
KEYS    meta  job  due
ARGV    epoch  entry
OK      seq  version
ERR     STALE_EPOCH
EMITS   session.job
TOUCHES {z}:log  {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:summaries  {z}:live  {z}:open:*  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/load"
--- @include "lib/zone"
local meta, job_key, due = unpack(KEYS)
local epoch, entry = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
redis.call('ZREM', due, entry)
local job = Job.load(job_key)
if job and redis.call('HEXISTS', job_key, 'ahead') == 1 then Load.refresh(zone, job) end
EventLog.record_jobs(zone)
return {'OK', '0', 0, 0}
