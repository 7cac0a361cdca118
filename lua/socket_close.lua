--[[ socket_close: sockets of a gateway that have ended, in one batch. `seats` are pairs of a key and a seat of it.
KEYS    meta
ARGV    epoch  seats…
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:sockets:*
]]
--- @include "lib/enter"
local meta = unpack(KEYS)
local z = enter(meta, ARGV[1])
if not z then return {'STALE_EPOCH'} end
for i = 2, #ARGV, 2 do redis.call('ZREM', ARGV[i], ARGV[i + 1]) end
return {'OK', '0', 0, 0}
