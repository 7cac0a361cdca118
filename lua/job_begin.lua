--[[ job_begin: the time of a job that somebody holds is near: it counts towards their load. Due work `begin:<job>`; a no-op
where it counts already, or has no holder any more.
KEYS    meta  job  due
ARGV    epoch  entry
OK      seq  version
ERR     STALE_EPOCH
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/load"
local meta, job, due = unpack(KEYS)
local epoch, entry = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
redis.call('ZREM', due, entry)
local j = job_load(job)
if j and redis.call('HEXISTS', job, 'ahead') == 1 then load_anew(z, j) end
return {'OK', '0', 0, 0}
