--[[ reference_forget: a day after its job was archived a reference is SQL's to know. Due work `forget:<principal>:<reference>`.
KEYS    meta  ref  due
ARGV    epoch  entry  reference
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/enter"
local meta, ref, due = unpack(KEYS)
local epoch, entry, reference = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
redis.call('HDEL', ref, reference)
redis.call('ZREM', due, entry)
return {'OK', '0', 0, 0}
