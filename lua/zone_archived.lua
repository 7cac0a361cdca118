--[[ zone_archived: the archive holds every event up to `seq`. Told late, it takes nothing back.
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
local last = tonumber(redis.call('HGET', meta, 'archived')) or 0
if tonumber(seq) > last then redis.call('HSET', meta, 'archived', seq) end
return {'OK', '0', seq, 0}
