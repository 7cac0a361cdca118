--[[ job_read: one job as it is now, with what decides who may see it; `bid` is what became of the technician's bid, and
`bids` 1 where he may bid, or take back what he bid.
KEYS    meta  job  offers
ARGV    epoch  technician
OK      seq  version  job  public  bp  status  phase  customer  holder  owner  offer  bid  bids
ERR     STALE_EPOCH  NOT_FOUND
FLAGS   allow-oom
TOUCHES {z}:tech:*  {z}:job:*:bids  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/public"
--- @include "lib/tech"
--- @include "lib/offers"
--- @include "lib/bids"
local meta, job, offers = unpack(KEYS)
local epoch, technician = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j then return {'NOT_FOUND', '0'} end
local offer, bid, bids = '', '', ''
if technician ~= '' then
  offer = redis.call('HGET', offers, technician) or ''
  -- What does not open to him yet he does not know of.
  local o = offer ~= '' and offer_parse(offer)
  if o and o.status == 'sent' and o.opens > z.now then offer = '' end
  bid = string.match(redis.call('HGET', job .. ':bids', technician) or '', '^%S*')
  if bids_taken(j) then
    local t = bid ~= 'open' and not bid_left(offer) and tech_load(z.tag .. 'tech:' .. technician)
    if bid == 'open' or t and bid_suits(z, j, t) then bids = '1' end
  end
end
return {'OK', '0', z.seq, j.version, job_full(j),
  job_public(j, technician ~= '' and technician == j.holder and j.card or nil), j.bp, j.status, j.phase, j.customer, j.holder,
  redis.call('HGET', job, 'owner') or '', offer, bid, bids}
