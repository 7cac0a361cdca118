--[[ socket_close: removes the closed sockets of a gateway, in one batch. `slots` are pairs of a key and a
connection slot in this key.
KEYS    meta
ARGV    epoch  slots…
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:sockets:*
]]
--- @include "lib/zone"
local meta = unpack(KEYS)
local zone = Zone.enter(meta, ARGV[1])
if not zone then return {'STALE_EPOCH'} end
for i = 2, #ARGV, 2 do redis.call('ZREM', ARGV[i], ARGV[i + 1]) end
return {'OK', '0', 0, 0}
