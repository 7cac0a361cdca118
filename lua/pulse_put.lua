--[[ pulse_put: stores the pulse of areas of a zone, as pairs of an area and its JSON, and `as_of` (ms), which holds for
all areas of the hash. `notice` is published to the zone's live channel ('' is none). If a later `as_of` is stored,
nothing changes: the caller has lost the lease of the chore, and another process has written the pulse meanwhile.
KEYS    meta  pulse
ARGV    epoch  as_of  ttl_ms  notice  areas…
OK      seq  version  stored
ERR     STALE_EPOCH
TOUCHES {z}:live  (same slot, names known only inside)
]]
--- @include "lib/zone"
local meta, pulse = unpack(KEYS)
local epoch, as_of, ttl_ms, notice = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if (tonumber(redis.call('HGET', pulse, '')) or 0) > tonumber(as_of) then return {'OK', '0', zone.seq, 0, 0} end
redis.call('HSET', pulse, '', as_of)
for i = 5, #ARGV, 2 do redis.call('HSET', pulse, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', pulse, ttl_ms)
if notice ~= '' then redis.call('SPUBLISH', zone.tag .. 'live', notice) end
return {'OK', '0', zone.seq, 0, 1}
