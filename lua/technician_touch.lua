--[[ technician_touch: renews the leases of a gateway's connected technicians, in one batch. The script creates no
lease: an offline technician stays offline. `absent` are those who have no lease: they are offline, or in another zone.
KEYS    meta  seen
ARGV    epoch  ids…
OK      seq  version  absent…
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta, seen = unpack(KEYS)
local zone = Zone.enter(meta, ARGV[1])
if not zone then return {'STALE_EPOCH'} end
local reply = {'OK', '0', 0, 0}
for i = 2, #ARGV do
  local id = ARGV[i]
  -- ZADD returns 0 also for a lease that was renewed in this millisecond.
  if redis.call('ZADD', seen, 'XX', 'CH', zone.now, id) == 0 and not redis.call('ZSCORE', seen, id) then
    reply[#reply + 1] = id
  end
end
return reply
