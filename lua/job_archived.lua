--[[ job_archived: a finished job is in SQL; its keys stay a day for those who still look.
KEYS    meta  jobs  job
ARGV    epoch  id
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:user:*:jobs  {z}:job:*:offers  {z}:job:*:causes  {z}:job:*:waves  {z}:job:*:bids  {z}:job:*:payments  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
local meta, jobs, job = unpack(KEYS)
local epoch, id = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = redis.call('HMGET', job, 'phase', 'customer', 'holder', 'owner', 'reference')
if j[1] ~= 'done' and j[1] ~= 'closed' then return {'OK', '0', 0, 0} end
redis.call('ZREM', jobs, id)
redis.call('ZREM', z.tag .. 'user:' .. j[2] .. ':jobs', id)
if j[3] and j[3] ~= '' then redis.call('ZREM', z.tag .. 'user:' .. j[3] .. ':jobs', id) end
-- Not at once: who asked SQL for the reference before this batch was there is on his way to look here.
if j[5] and j[5] ~= '' then
  redis.call('ZADD', z.tag .. 'due', 'NX', z.now + 86400000, 'forget:' .. string.match(j[4], '[^:]*$') .. ':' .. j[5])
end
for _, part in ipairs({'', ':offers', ':causes', ':waves', ':bids', ':payments'}) do redis.call('EXPIRE', job .. part, 86400) end
return {'OK', '0', 0, 0}
