--[[ technician_touch: renews the leases of a gateway's connected technicians, in one batch. The script creates no
lease: an offline technician stays offline.
KEYS    meta  seen
ARGV    epoch  ids…
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta, seen = unpack(KEYS)
local zone = Zone.enter(meta, ARGV[1])
if not zone then return {'STALE_EPOCH'} end
for i = 2, #ARGV do redis.call('ZADD', seen, 'XX', zone.now, ARGV[i]) end
return {'OK', '0', 0, 0}
