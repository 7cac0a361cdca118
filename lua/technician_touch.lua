--[[ technician_touch: a gateway's live technicians, in one batch. Renews leases, makes none: who is offline stays so.
KEYS    meta  seen
ARGV    epoch  ids…
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/enter"
local meta, seen = unpack(KEYS)
local z = enter(meta, ARGV[1])
if not z then return {'STALE_EPOCH'} end
for i = 2, #ARGV do redis.call('ZADD', seen, 'XX', z.now, ARGV[i]) end
return {'OK', '0', 0, 0}
