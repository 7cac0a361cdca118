--[[ limit_take: the generic cell rate algorithm (ITU-T I.371): one number per meter, no window edges.
KEYS    meta  meter
ARGV    epoch  interval_ms  burst
OK      seq  version  remaining  reset_ms
ERR     STALE_EPOCH  RATE_LIMITED
]]
--- @include "lib/enter"
local meta, meter = unpack(KEYS)
local epoch, interval_ms, burst = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local tat = math.max(tonumber(redis.call('GET', meter) or '') or 0, z.now)
local allowed_at = tat + interval_ms - interval_ms * burst
if allowed_at > z.now then return {'RATE_LIMITED', '0', math.ceil(allowed_at - z.now)} end
tat = tat + interval_ms
redis.call('SET', meter, tat, 'PX', math.ceil(tat - z.now) + 1)
return {'OK', '0', 0, 0, math.floor((z.now + interval_ms * burst - tat) / interval_ms), math.ceil(tat - z.now)}
