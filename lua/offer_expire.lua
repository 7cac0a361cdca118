--[[ offer_expire: closes the expired offers of one wave. Its scheduled task is `offers:<job>:<wave>`. A claim does not
depend on this script: job_claim compares the times too.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  wave  grace_ms  lease_ms
OK      seq  version
ERR     STALE_EPOCH
EMITS   offer.closed  session.job
TOUCHES {z}:tech:*:offers  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/offer_closure"
--- @include "lib/offers"
--- @include "lib/wave_advance"
--- @include "lib/zone"
local meta, job_key, offers, due, log = unpack(KEYS)
local epoch, entry, wave_number, grace_ms, lease_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if not job or not Job.is_searching(job) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
-- A claim within the grace is still accepted, so there is no event before the grace ends. In a burst the remaining
-- offers are closed in the next turn. Offers that end one after the other are reported in one event a second.
local all, channels, seen, later = redis.call('HGETALL', offers), {}, {}, nil
for i = 1, #all, 2 do
  local offer = Offers.parse(all[i + 1])
  if offer.status == 'sent' and offer.wave == tonumber(wave_number) then
    if #seen < Offers.MAX_EXPIRED and Zone.has_ended(zone, offer.expires + grace_ms, lease_ms) then
      offer.status = 'expired'
      Offers.write(offers, all[i], offer)
      redis.call('ZREM', zone.tag .. 'tech:' .. all[i] .. ':offers', job.id)
      seen[#seen + 1] = all[i]
      if offer.opens <= zone.now then channels[#channels + 1] = 'user:' .. all[i] end
    else
      local at = math.max(offer.expires + grace_ms + 1, zone.opened > 0 and zone.opened + lease_ms + 1 or 0)
      later = math.min(later or at, at)
    end
  end
end
if later then
  local pause_ms = #seen > 0 and #seen < Offers.MAX_EXPIRED and Offers.EXPIRE_EVERY_MS or 0
  redis.call('ZADD', due, math.max(later, zone.now + pause_ms), entry)
else redis.call('ZREM', due, entry) end
if #seen == 0 then return {'OK', '0', 0, 0} end
WaveAdvance.advance(zone, job, offers)
if #channels > 0 then EventLog.append(zone, log, OfferClosure.event(job, channels, 'expired', 'Offer expired')) end
EventLog.record_jobs(zone)
EventLog.save_seq(zone)
return {'OK', '0', #channels > 0 and zone.seq or 0, job.version}
