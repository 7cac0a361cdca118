--[[ zone_archived: records that the archive has every event up to `seq`. A late call with a lower `seq` changes
nothing.
KEYS    meta
ARGV    epoch  seq
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, seq = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local last = tonumber(redis.call('HGET', meta, 'archived')) or 0
if tonumber(seq) > last then redis.call('HSET', meta, 'archived', seq) end
return {'OK', '0', seq, 0}
