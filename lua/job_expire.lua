--[[ job_expire: nobody took the job in its time. Due work `expire:<job>`; a no-op where the job has moved on.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  to  told  lease_ms
OK      seq  version
ERR     STALE_EPOCH
EMITS   job.expired  offer.closed
TOUCHES {z}:demand:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/offers"
--- @include "lib/closed"
--- @include "lib/audience"
--- @include "lib/append"
local meta, job, offers, due, log = unpack(KEYS)
local epoch, entry, to, told, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j or j.phase ~= 'open' or j.expires == 0 then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
if not over(z, j.expires, lease_ms) then
  redis.call('ZADD', due, math.max(j.expires, z.opened + lease_ms) + 1, entry)
  return {'OK', '0', 0, 0}
end
local was = j.status
job_move(z, j, to, 'closed')
j.last = 'expire engine ' .. string.format('%.0f', z.seq + 1)
job_save(j)
offering_ends(z, j)
redis.call('ZREM', due, entry)
local asked = offers_open(offers, '')
local seq = append(z, log, {type = 'job.expired', to = audience(told, j), bp = j.bp, cause = '',
  data = '{"job":' .. job_full(j) .. ',"actor":{"id":"engine","role":"engine"},"reason":"unclaimed","from":"' ..
    was .. '","to":"' .. j.status .. '"}'})
if #asked > 0 then append(z, log, offer_closed(j, asked, 'expired', 'Offer expired')) end
leave(z)
return {'OK', '0', seq, j.version}
