--[[ job_stall: informs ops that the holder of a job cannot finish the job, once for each holder.
KEYS    meta  job  log
ARGV    epoch  technician  step  audience
OK      seq  version
ERR     STALE_EPOCH
EMITS   job.stalled
]]
--- @include "lib/audience"
--- @include "lib/event_log"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/zone"
local meta, job_key, log = unpack(KEYS)
local epoch, technician, step, audience = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if not job or job.holder ~= technician or redis.call('HGET', job_key, step) == technician then
  return {'OK', '1', 0, 0}
end
JobFields.set(job_key, step, technician)
local seq = EventLog.append(zone, log, {type = 'job.stalled', to = Audience.channels(audience, job), bp = job.bp,
  data = '{"job":{"id":"' .. job.id ..
  '"},"technician":{"id":"' .. technician .. '"},"since":' .. Iso.format(zone.now) .. ',"step":"' .. step .. '"}'})
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version}
