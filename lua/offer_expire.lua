--[[ offer_expire: the offers of one wave have run out. Due work `offers:<job>:<wave>`; the claim compares the times too.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  wave  grace_ms  lease_ms
OK      seq  version
ERR     STALE_EPOCH
EMITS   offer.closed
TOUCHES {z}:tech:*:offers  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/offers"
--- @include "lib/closing"
--- @include "lib/append"
local meta, job, offers, due, log = unpack(KEYS)
local epoch, entry, wave, grace_ms, lease_ms = unpack(ARGV)
local z, MOST = enter(meta, epoch), 256
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j or not seeks(j) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
-- Late acceptance is still one within the grace: until it is over nothing is told. In a burst the rest come in the next
-- turn, and offers that end one after the other are told of once a second.
local all, to, seen, later = redis.call('HGETALL', offers), {}, {}, nil
for i = 1, #all, 2 do
  local o = offer_parse(all[i + 1])
  if o.status == 'sent' and o.wave == tonumber(wave) then
    if #seen < MOST and over(z, o.expires + grace_ms, lease_ms) then
      o.status = 'expired'
      offer_write(offers, all[i], o)
      redis.call('ZREM', z.tag .. 'tech:' .. all[i] .. ':offers', j.id)
      seen[#seen + 1] = all[i]
      if o.opens <= z.now then to[#to + 1] = 'user:' .. all[i] end
    else
      local at = math.max(o.expires + grace_ms + 1, z.opened > 0 and z.opened + lease_ms + 1 or 0)
      later = math.min(later or at, at)
    end
  end
end
if later then redis.call('ZADD', due, math.max(later, z.now + (#seen > 0 and #seen < MOST and 1000 or 0)), entry)
else redis.call('ZREM', due, entry) end
if #seen == 0 then return {'OK', '0', 0, 0} end
if #to > 0 then append(z, log, offer_closed(j, to, 'expired', 'Offer expired')) end
wave_hasten(z, j, offers)
leave(z)
return {'OK', '0', #to > 0 and z.seq or 0, j.version}
