--[[ choice_read: reads what the searches for a job decided about one technician: the status of their offer ('' = none),
whether it is `hidden` because it opens later (1), and the records of the job's waves, the newest first.
KEYS    meta  job  offers  waves
ARGV    epoch  technician
OK      seq  version  offer  hidden  records…
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/offers"
--- @include "lib/zone"
local meta, job_key, offers, waves = unpack(KEYS)
local epoch, technician = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local text = redis.call('HGET', offers, technician)
local offer = text and Offers.parse(text) or {status = '', opens = 0}
local hidden = offer.status == 'sent' and offer.opens > zone.now
local row = redis.call('HMGET', job_key, 'mode', 'holder')
-- The end of a search changes no offer, so the status of a sent offer follows from the job.
if offer.status == 'sent' and row[2] == technician then offer.status = 'accepted'
elseif offer.status == 'sent' and (row[1] == 'none' or row[2] ~= '') then offer.status = 'expired' end
return {'OK', '0', zone.seq, 0, offer.status, hidden and '1' or '0', unpack(redis.call('LRANGE', waves, 0, -1))}
