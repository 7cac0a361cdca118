--[[ offer_list: lists a technician's open offers, nearest deadline first, and returns the zone's seq as of this list.
Offers that closed because another technician got the job are still in the technician's list: this script removes them.
KEYS    meta  tech_offers
ARGV    epoch  technician  limit  lease_ms
OK      seq  version  offers…
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  {z}:job:*:offers  (same slot, names known only inside)
]]
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/offers"
--- @include "lib/zone"
local meta, tech_offers = unpack(KEYS)
local epoch, technician, limit, lease_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local reply, first = {'OK', '0', zone.seq, 0}, 0
local function open_offer(job)
  local text = job and Job.is_searching(job) and redis.call('HGET', job.key .. ':offers', technician)
  local offer = text and Offers.parse(text)
  return offer and offer.status == 'sent' and offer
end
while #reply - 4 < tonumber(limit) do
  local ids = redis.call('ZRANGE', tech_offers, first, first + Offers.PAGE - 1)
  for _, id in ipairs(ids) do
    local job = Job.load(zone.tag .. 'job:' .. id)
    local offer = open_offer(job)
    if not offer then redis.call('ZREM', tech_offers, id)
    else
      first = first + 1
      -- An offer that just expired stays in the list: offer_expire removes it, and technician_offline reads it there.
      if offer.opens <= zone.now and not Zone.has_ended(zone, offer.expires, lease_ms)
        and #reply - 4 < tonumber(limit) then
        reply[#reply + 1] = '{"job":' .. Job.public_json(job) .. ',"status":"sent","wave":' .. offer.wave ..
          ',"offered_at":' ..
          Iso.format(offer.opens) .. ',"expires_at":' .. Iso.format(offer.expires) .. ',"distance_m":' ..
            math.floor(offer.distance / 100 + 0.5) * 100 .. '}'
      end
    end
  end
  if #ids < Offers.PAGE then break end
end
return reply
