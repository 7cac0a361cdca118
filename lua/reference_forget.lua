--[[ reference_forget: removes a job's reference a day after the job was archived: from then on the reference is only in
SQL. Its scheduled task is `forget:<principal>:<reference>`.
KEYS    meta  ref  due
ARGV    epoch  entry  reference
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta, ref, due = unpack(KEYS)
local epoch, entry, reference = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
redis.call('HDEL', ref, reference)
redis.call('ZREM', due, entry)
return {'OK', '0', 0, 0}
