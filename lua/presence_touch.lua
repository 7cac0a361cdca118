--[[ presence_touch: stores the last sign of life of one user, over all gateways and devices: `age_ms` before now. An
older sign than the stored one changes nothing. The key expires one lease after the sign, so it exists while the user
is online.
KEYS    presence
ARGV    age_ms  lease_ms
OK      seq  version
FLAGS   allow-oom
]]
--- @include "lib/clock"
local presence = unpack(KEYS)
local age_ms, lease_ms = unpack(ARGV)
local seen, left = Clock.server_time() - age_ms, lease_ms - age_ms
if left > 0 and seen > (tonumber(redis.call('GET', presence)) or 0) then
  redis.call('SET', presence, string.format('%.0f', seen), 'PX', string.format('%.0f', left))
end
return {'OK', '0', 0, 0}
