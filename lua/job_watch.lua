--[[ job_watch: checks whether the holder moves towards the job. The holder may stand still, move away, or send no
positions. A problem that two consecutive checks find is reported, and after a grace period the caller may take the job
from the holder. Its scheduled task is `timer:<job>:<entered>:w`; the script changes nothing if the job has changed its
state.
KEYS    meta  job  due  log
ARGV    epoch  entry  entered  still_ms  still_m  away_m  dark_ms  grace_ms  every_ms  stalled_audience  dark_audience
OK      seq  version  verdict
ERR     STALE_EPOCH
EMITS   job.stalled  job.dark  session.job
TOUCHES {z}:tech:*  (same slot, names known only inside)
]]
--- @include "lib/audience"
--- @include "lib/event_log"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/watchdog"
--- @include "lib/zone"
local meta, job_key, due, log = unpack(KEYS)
local epoch, entry, entered, still_ms, still_m, away_m, dark_ms, grace_ms, every_ms, stalled_audience,
  dark_audience = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if not job or job.entered ~= entered or job.holder == '' then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, 'moved_on'}
end
redis.call('ZADD', due, zone.now + every_ms, entry)
local tech = Tech.load(zone.tag .. 'tech:' .. job.holder)
local row = redis.call('HMGET', job_key, 'lat', 'lon', 'since', 'watch')
local watch = Watchdog.load(row[4], tonumber(row[3]) or zone.now)
-- Within the grace after a pause no technician could report a position.
local why = tech and Zone.has_ended(zone, 1, tonumber(dark_ms)) and
  Watchdog.reason(zone, watch, tech, row[1], row[2], tonumber(still_ms), tonumber(still_m), tonumber(away_m),
    tonumber(dark_ms)) or nil
local seq, outcome, event = 0, 'well', nil
if not why then watch.why, watch.looks, watch.reported_at = '-', 0, 0
elseif why ~= watch.why then watch.why, watch.looks, watch.reported_at = why, 1, 0
else
  watch.looks = watch.looks + 1
  if watch.reported_at == 0 then
    watch.reported_at = zone.now
    local kind = why == 'dark' and {'job.dark', dark_audience} or {'job.stalled', stalled_audience}
    event = {type = kind[1], to = Audience.channels(kind[2], job), bp = job.bp,
      data = '{"job":{"id":"' .. job.id ..
      '"},"technician":{"id":"' .. job.holder .. '"},"since":' .. Iso.format(watch.since) ..
        ',"step":"warn","reason":"' .. why .. '"}'}
    outcome = 'reported'
  elseif zone.now >= watch.reported_at + grace_ms then outcome = 'over' end
end
Watchdog.save(job, watch)
if event then
  seq = EventLog.append(zone, log, event)
  EventLog.save_seq(zone)
end
EventLog.record_jobs(zone)
return {'OK', '0', seq, job.version, outcome}
