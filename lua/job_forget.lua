--[[ job_forget: removes the keys of a finished job that SQL has, because a party of the job is erased. A job that is not
finished stays.
KEYS    meta  jobs  job
ARGV    epoch  id
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:user:*:jobs  {z}:ref:*  {z}:due  {z}:job:*:offers  {z}:job:*:causes  {z}:job:*:waves  {z}:job:*:bids  {z}:job:*:payments  (same slot, names known only inside)
]]
--- @include "lib/zone"
local meta, jobs, job_key = unpack(KEYS)
local epoch, id = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local values = redis.call('HMGET', job_key, 'phase', 'customer', 'holder', 'owner', 'reference')
if values[1] and values[1] ~= 'done' and values[1] ~= 'closed' then return {'OK', '0', 0, 0} end
redis.call('ZREM', jobs, id)
for _, user in ipairs({values[2] or '', values[3] or ''}) do
  if user ~= '' then redis.call('ZREM', zone.tag .. 'user:' .. user .. ':jobs', id) end
end
if values[5] and values[5] ~= '' then
  local owner = string.match(values[4], '[^:]*$')
  redis.call('HDEL', zone.tag .. 'ref:' .. owner, values[5])
  redis.call('ZREM', zone.tag .. 'due', 'forget:' .. owner .. ':' .. values[5])
end
for _, part in ipairs({'', ':offers', ':causes', ':waves', ':bids', ':payments'}) do
  redis.call('DEL', job_key .. part)
end
return {'OK', '0', 0, 0}
