--[[ technician_forget: removes the data of an erased technician from Redis: name, phone and position. Nothing changes
while they hold a job.
KEYS    meta  seen  people  summaries  technician
ARGV    epoch  id
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:tech:*:jobs  {z}:tech:*:offers  {z}:tech:*:tracked  {z}:tech:*:plan  (same slot, names known only inside)
]]
--- @include "lib/zone"
local meta, seen, people, summaries, technician = unpack(KEYS)
local epoch, id = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if redis.call('SCARD', technician .. ':jobs') > 0 then return {'OK', '0', 0, 0} end
redis.call('ZREM', seen, id)
redis.call('ZREM', people, id)
redis.call('HDEL', summaries, id)
for _, part in ipairs({'', ':offers', ':tracked', ':plan'}) do redis.call('DEL', technician .. part) end
return {'OK', '0', 0, 0}
