--[[ offer_open: the head start of the others is over, and those whose offers open now hear of them. Due work
`opens:<job>:<wave>:<ms>`, which wave_hasten brings forward when nobody holds an open offer any more.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  wave  opens
OK      seq  version  opened
ERR     STALE_EPOCH
EMITS   offer.created
TOUCHES {z}:tech:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/candidates"
--- @include "lib/offers"
--- @include "lib/closing"
--- @include "lib/offering"
--- @include "lib/append"
local meta, job, offers, due, log = unpack(KEYS)
local epoch, entry, wave, opens = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j, to, expires = job_load(job), {}, 0
-- Who is second to take the entry away comes too late: they have been told.
if redis.call('ZREM', due, entry) == 0 or not j or not invites(j) then return {'OK', '0', 0, 0, 0} end
local all = redis.call('HGETALL', offers)
for i = 1, #all, 2 do
  local o = offer_parse(all[i + 1])
  if o.status == 'sent' and o.wave == tonumber(wave) and o.opens == tonumber(opens) then
    if o.opens > z.now then
      o.opens = z.now
      offer_write(offers, all[i], o)
    end
    redis.call('HINCRBY', z.tag .. 'tech:' .. all[i], 'asked', 1)
    to[#to + 1], expires = 'user:' .. all[i], o.expires
  end
end
if #to == 0 then return {'OK', '0', 0, 0, 0} end
if tonumber(redis.call('HGET', job, 'opens')) == tonumber(opens) then redis.call('HSET', job, 'opens', z.now) end
local seq = append(z, log, offer_created(z, j, to, wave, expires))
leave(z)
return {'OK', '0', seq, j.version, #to}
