--[[ job_expire: nobody took the job in its time. Due work `expire:<job>`; a no-op where the job has moved on.
KEYS    meta  job  offers  due  log
ARGV    epoch  entry  bp  goal  told  bids_told  grace_ms  lease_ms
OK      seq  version
ERR     STALE_EPOCH  OTHER_BLUEPRINT
EMITS   job.expired  offer.closed  bid.closed
TOUCHES {z}:job:*:bids  {z}:demand:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/goal"
--- @include "lib/job"
--- @include "lib/seeking"
--- @include "lib/offers"
--- @include "lib/closed"
--- @include "lib/audience"
--- @include "lib/append"
--- @include "lib/outbid"
local meta, job, offers, due, log = unpack(KEYS)
local epoch, entry, bp, goal, told, bids_told, grace_ms, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
if not j or j.phase ~= 'open' or j.expires == 0 then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
if not over(z, j.expires + grace_ms, lease_ms) then
  redis.call('ZADD', due, math.max(j.expires + grace_ms, z.opened + lease_ms) + 1, entry)
  return {'OK', '0', 0, 0}
end
local was, mode = j.status, j.mode
seeking_ends(z, j, mode)
job_move(z, j, goal_parse(goal))
j.last = 'expire engine ' .. string.format('%.0f', z.seq + 1)
job_save(j)
redis.call('ZREM', due, entry)
local asked = offers_open(z, redis.call('HGETALL', offers), '')
local seq = append(z, log, {type = 'job.expired', to = audience(told, j), bp = j.bp, cause = '',
  data = '{"job":' .. job_full(j) .. ',"actor":{"id":"engine","role":"engine"},"reason":"unclaimed","from":"' ..
    was .. '","to":"' .. j.status .. '"}'})
if #asked > 0 then append(z, log, offer_closed(j, asked, 'expired', 'Offer expired')) end
local ended = {}
bids_close(ended, j, mode, 'expired', bids_told)
for _, event in ipairs(ended) do append(z, log, event) end
leave(z)
return {'OK', '0', seq, j.version}
