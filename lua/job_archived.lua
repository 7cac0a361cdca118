--[[ job_archived: records that a finished job is in SQL. The job's keys stay in Redis for ten minutes, for readers that
have not switched to SQL yet, and for technicians who answer an offer late. Its offers, its waves and the records of its
last changes are deleted at once: SQL has them, and each idempotency record also has a key of its own. If not all
technicians were notified yet that their offers are closed (lib/offer_closure), the offers stay as long as the job.
`live` is 1 if the job is not finished any more.
KEYS    meta  jobs  job
ARGV    epoch  id
OK      seq  version  live
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:user:*:jobs  {z}:job:*:offers  {z}:job:*:causes  {z}:job:*:waves  {z}:job:*:bids  {z}:job:*:payments  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/job"
--- @include "lib/zone"
local meta, jobs, job_key = unpack(KEYS)
local epoch, id = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local values = redis.call('HMGET', job_key, 'phase', 'customer', 'holder', 'owner', 'reference', 'closing')
if values[1] ~= 'done' and values[1] ~= 'closed' then return {'OK', '0', 0, 0, values[1] and '1' or '0'} end
redis.call('ZREM', jobs, id)
redis.call('ZREM', zone.tag .. 'user:' .. values[2] .. ':jobs', id)
if values[3] and values[3] ~= '' then redis.call('ZREM', zone.tag .. 'user:' .. values[3] .. ':jobs', id) end
-- The reference is not removed at once: a reader that queried SQL before this batch was committed looks for it in Redis
-- next.
if values[5] and values[5] ~= '' then
  local entry = 'forget:' .. string.match(values[4], '[^:]*$') .. ':' .. values[5]
  redis.call('ZADD', zone.tag .. 'due', 'NX', zone.now + Job.ARCHIVED_MS, entry)
end
-- SQL drops the state of the job now. Therefore the job's next change writes the whole state again (lib/job_state).
redis.call('HDEL', job_key, 'recorded')
redis.call('DEL', job_key .. ':causes', job_key .. ':waves')
if (values[6] or '') == '' then redis.call('DEL', job_key .. ':offers') end
for _, part in ipairs({'', ':offers', ':bids', ':payments'}) do
  redis.call('PEXPIRE', job_key .. part, Job.ARCHIVED_MS)
end
return {'OK', '0', 0, 0, '0'}
