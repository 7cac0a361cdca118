--[[ offer_expire: the offers of one wave have run out. Due work `offers:<job>:<wave>`; the claim compares the times too.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  wave  lease_ms
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
local epoch, entry, wave, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j or j.phase ~= 'open' or j.holder ~= '' then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
local all, to, later = redis.call('HGETALL', offers), {}, 0
for i = 1, #all, 2 do
  local o = offer_parse(all[i + 1])
  if o.status == 'sent' and o.wave == tonumber(wave) then
    if over(z, o.expires, lease_ms) then
      o.status = 'expired'
      offer_write(offers, all[i], o)
      redis.call('ZREM', z.tag .. 'tech:' .. all[i] .. ':offers', j.id)
      to[#to + 1] = 'user:' .. all[i]
    else
      later = math.max(later, o.expires, z.opened > 0 and z.opened + lease_ms or 0)
    end
  end
end
if later > 0 then redis.call('ZADD', due, later + 1, entry) else redis.call('ZREM', due, entry) end
if #to == 0 then return {'OK', '0', 0, 0} end
local seq = append(z, log, offer_closed(j, to, 'expired', 'Offer expired'))
wave_hasten(z, j, offers)
leave(z)
return {'OK', '0', seq, j.version}
