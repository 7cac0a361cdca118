--[[ socket_touch: renews the slots of a gateway's open sockets, in one batch, each with the age of its client's last
message. A slot that Redis has lost is added again.
KEYS    meta
ARGV    epoch  lease_ms  slots…
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:sockets:*
]]
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, lease_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
for i = 3, #ARGV, 3 do
  redis.call('ZADD', ARGV[i], zone.now - ARGV[i + 2], ARGV[i + 1])
  redis.call('PEXPIRE', ARGV[i], lease_ms)
end
return {'OK', '0', 0, 0}
