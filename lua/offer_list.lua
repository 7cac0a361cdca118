--[[ offer_list: what is open to a technician, nearest deadline first, with the seq it is as of. Offers that closed by
their job's being taken are still in the pull list: whoever reads it takes them out.
KEYS    meta  tech_offers
ARGV    epoch  technician  limit  lease_ms
OK      seq  version  offers…
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  {z}:job:*:offers  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/public"
--- @include "lib/offers"
local meta, tech_offers = unpack(KEYS)
local epoch, technician, limit, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local reply, first = {'OK', '0', z.seq, 0}, 0
local function open_offer(j)
  local text = j and seeks(j) and redis.call('HGET', j.key .. ':offers', technician)
  local o = text and offer_parse(text)
  return o and o.status == 'sent' and o
end
while #reply - 4 < tonumber(limit) do
  local ids = redis.call('ZRANGE', tech_offers, first, first + 99)
  for _, id in ipairs(ids) do
    local j = job_load(z.tag .. 'job:' .. id)
    local o = open_offer(j)
    if not o then redis.call('ZREM', tech_offers, id)
    else
      first = first + 1
      -- One that has just run out stays in the list: the sweep takes it out, or going offline must find it there.
      if o.opens <= z.now and not over(z, o.expires, lease_ms) and #reply - 4 < tonumber(limit) then
        reply[#reply + 1] = '{"job":' .. job_public(j) .. ',"status":"sent","wave":' .. o.wave .. ',"offered_at":' ..
          iso(o.opens) .. ',"expires_at":' .. iso(o.expires) .. ',"distance_m":' .. math.floor(o.distance / 100 + 0.5) * 100 .. '}'
      end
    end
  end
  if #ids < 100 then break end
end
return reply
