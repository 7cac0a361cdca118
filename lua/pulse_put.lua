--[[ pulse_put: stores what is expected of areas of a zone, as pairs of an area and its JSON, and `as_of` (ms) for all
areas of the hash. If a later `as_of` is stored, nothing changes: an earlier runner of the chore was late.
KEYS    meta  pulse
ARGV    epoch  as_of  ttl_ms  areas…
OK      seq  version  stored
ERR     STALE_EPOCH
]]
--- @include "lib/zone"
local meta, pulse = unpack(KEYS)
local epoch, as_of, ttl_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if (tonumber(redis.call('HGET', pulse, '')) or 0) > tonumber(as_of) then return {'OK', '0', zone.seq, 0, 0} end
redis.call('HSET', pulse, '', as_of)
for i = 4, #ARGV, 2 do redis.call('HSET', pulse, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', pulse, ttl_ms)
return {'OK', '0', zone.seq, 0, 1}
