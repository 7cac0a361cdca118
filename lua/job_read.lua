--[[ job_read: reads one job, with the fields that decide who may see the job. `owner` is the user who booked the job,
`bid` is the status of the technician's bid, and `bids` is 1 if they may bid or withdraw their bid.
KEYS    meta  job  offers
ARGV    epoch  technician
OK      seq  version  job  public  bp  status  phase  customer  holder  owner  offer  bid  bids
ERR     STALE_EPOCH  NOT_FOUND
FLAGS   allow-oom
TOUCHES {z}:tech:*  {z}:job:*:bids  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/bids"
--- @include "lib/job"
--- @include "lib/offers"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, job_key, offers = unpack(KEYS)
local epoch, technician = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if not job then return {'NOT_FOUND', '0'} end
local offer_text, bid_status, may_bid = '', '', ''
if technician ~= '' then
  offer_text = redis.call('HGET', offers, technician) or ''
  -- An offer that opens later is not visible yet.
  local offer = offer_text ~= '' and Offers.parse(offer_text)
  if offer and offer.status == 'sent' and offer.opens > zone.now then offer_text = '' end
  bid_status = string.match(redis.call('HGET', job_key .. ':bids', technician) or '', '^%S*')
  if Bids.accepts_bids(job) then
    local tech = bid_status ~= 'open' and not Bids.has_left(offer_text) and Tech.load(zone.tag .. 'tech:' .. technician)
    if bid_status == 'open' or tech and Bids.is_eligible(zone, job, tech) then may_bid = '1' end
  end
end
local public = Job.public_json(job, technician ~= '' and technician == job.holder and job.card or nil)
return {'OK', '0', zone.seq, job.version, Job.full_json(job), public, job.bp, job.status, job.phase, job.customer,
  job.holder, redis.call('HGET', job_key, 'owner') or '', offer_text, bid_status, may_bid}
