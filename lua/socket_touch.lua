--[[ socket_touch: a gateway's open sockets, in one batch (pairs of a key and a seat of it). What was lost meanwhile is there again.
KEYS    meta
ARGV    epoch  lease_ms  seats…
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:sockets:*
]]
--- @include "lib/enter"
local meta = unpack(KEYS)
local z = enter(meta, ARGV[1])
if not z then return {'STALE_EPOCH'} end
for i = 3, #ARGV, 2 do
  redis.call('ZADD', ARGV[i], z.now, ARGV[i + 1])
  redis.call('PEXPIRE', ARGV[i], ARGV[2])
end
return {'OK', '0', 0, 0}
