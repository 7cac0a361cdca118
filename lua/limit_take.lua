--[[ limit_take: counts a request against a rate limit, by the generic cell rate algorithm (ITU-T I.371). The algorithm
stores one number for each caller and limit (a meter), and has no fixed windows of time.
KEYS    meter
ARGV    interval_ms  burst
OK      seq  version  remaining  reset_ms
ERR     RATE_LIMITED
]]
--- @include "lib/clock"
local meter = unpack(KEYS)
local interval_ms, burst = unpack(ARGV)
local now = Clock.server_time()
local tat = math.max(tonumber(redis.call('GET', meter) or '') or 0, now)
local allowed_at = tat + interval_ms - interval_ms * burst
if allowed_at > now then return {'RATE_LIMITED', '0', math.ceil(allowed_at - now)} end
tat = tat + interval_ms
redis.call('SET', meter, tat, 'PX', math.ceil(tat - now) + 1)
return {'OK', '0', 0, 0, math.floor((now + interval_ms * burst - tat) / interval_ms), math.ceil(tat - now)}
