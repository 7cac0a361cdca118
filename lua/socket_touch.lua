--[[ socket_touch: a gateway's open sockets, in one batch, each with the age of the last word from its client. What was
lost meanwhile is there again.
KEYS    meta
ARGV    epoch  lease_ms  seats…
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:sockets:*
]]
--- @include "lib/enter"
local meta = unpack(KEYS)
local epoch, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
for i = 3, #ARGV, 3 do
  redis.call('ZADD', ARGV[i], z.now - ARGV[i + 2], ARGV[i + 1])
  redis.call('PEXPIRE', ARGV[i], lease_ms)
end
return {'OK', '0', 0, 0}
