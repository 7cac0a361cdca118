--[[ zone_archived: the archive holds every event up to `seq`.
KEYS    meta
ARGV    epoch  seq
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/enter"
local meta = unpack(KEYS)
local epoch, seq = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
redis.call('HSET', meta, 'archived', seq)
return {'OK', '0', seq, 0}
