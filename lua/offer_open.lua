--[[ offer_open: opens the delayed offers of a wave when the head start of the others ends, and informs their
technicians. Its scheduled task is `opens:<job>:<wave>:<ms>`. WaveAdvance.advance makes this task due earlier when no
open offer is left.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  wave  opens
OK      seq  version  opened
ERR     STALE_EPOCH
EMITS   offer.created  session.job
TOUCHES {z}:tech:*  (same slot, names known only inside)
]]
--- @include "lib/candidates"
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/offer_creation"
--- @include "lib/offers"
--- @include "lib/zone"
local meta, job_key, offers, due, log = unpack(KEYS)
local epoch, entry, wave_number, opens = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, channels, expires = Job.load(job_key), {}, 0
-- Only the call that removes the entry appends the event, so that the technicians are informed once.
if redis.call('ZREM', due, entry) == 0 or not job or not Candidates.is_inviting(job) then
  return {'OK', '0', 0, 0, 0}
end
OfferCreation.release(job, wave_number, opens)
local all = redis.call('HGETALL', offers)
for i = 1, #all, 2 do
  local offer = Offers.parse(all[i + 1])
  if offer.status == 'sent' and offer.wave == tonumber(wave_number) and offer.opens == tonumber(opens) then
    if offer.opens > zone.now then
      offer.opens = zone.now
      Offers.write(offers, all[i], offer)
    end
    redis.call('HINCRBY', zone.tag .. 'tech:' .. all[i], 'asked', 1)
    channels[#channels + 1], expires = 'user:' .. all[i], offer.expires
  end
end
if #channels == 0 then
  EventLog.record_jobs(zone)
  return {'OK', '0', 0, 0, 0}
end
if tonumber(redis.call('HGET', job_key, 'opens')) == tonumber(opens) then
  JobFields.set(job_key, 'opens', zone.now)
end
local seq = EventLog.append(zone, log, OfferCreation.event(zone, job, channels, wave_number, expires))
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, #channels}
