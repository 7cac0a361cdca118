--[[ limit_take: counts a request against a rate limit, by the generic cell rate algorithm (ITU-T I.371). The algorithm
stores one number for each meter and has no window edges.
KEYS    meta  meter
ARGV    epoch  interval_ms  burst
OK      seq  version  remaining  reset_ms
ERR     STALE_EPOCH  RATE_LIMITED
]]
--- @include "lib/zone"
local meta, meter = unpack(KEYS)
local epoch, interval_ms, burst = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local tat = math.max(tonumber(redis.call('GET', meter) or '') or 0, zone.now)
local allowed_at = tat + interval_ms - interval_ms * burst
if allowed_at > zone.now then return {'RATE_LIMITED', '0', math.ceil(allowed_at - zone.now)} end
tat = tat + interval_ms
redis.call('SET', meter, tat, 'PX', math.ceil(tat - zone.now) + 1)
return {'OK', '0', 0, 0, math.floor((zone.now + interval_ms * burst - tat) / interval_ms), math.ceil(tat - zone.now)}
