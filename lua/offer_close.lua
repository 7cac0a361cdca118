--[[ offer_close: notifies the technicians with an open offer that the offer is closed, after a step that postponed this
because the job has many offers (lib/offer_closure). Its scheduled task is `close:<job>`. If a later step of the job came
first, that step has notified them.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry
OK      seq  version
ERR     STALE_EPOCH
EMITS   offer.closed  session.job
]]
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/offer_closure"
--- @include "lib/zone"
local meta, job_key, offers, due, log = unpack(KEYS)
local epoch, entry = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
redis.call('ZREM', due, entry)
local event = job and job.closing ~= '' and OfferClosure.take_postponed(job, offers)
if not event then
  EventLog.record_jobs(zone)
  return {'OK', '0', 0, 0}
end
EventLog.append(zone, log, event)
EventLog.save_seq(zone)
return {'OK', '0', zone.seq, job.version}
