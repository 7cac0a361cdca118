--[[ runner_lease: which node does a zone's background work, for as long as it renews the lease, and how many nodes
could. `want` is take (a lease that is free), keep (only what the node has), free (give it back), or leave (and be no
candidate any more). The reply's `held` is 1 for this node, 0 for another one, and empty if nobody holds it.
KEYS    meta  runner  runners
ARGV    epoch  node  ms  want
OK      seq  version  held  nodes
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta, runner, runners = unpack(KEYS)
local epoch, node, ms, want = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if want == 'leave' then redis.call('ZREM', runners, node) else redis.call('ZADD', runners, zone.now, node) end
redis.call('ZREMRANGEBYSCORE', runners, '-inf', zone.now - ms)
redis.call('PEXPIRE', runners, ms)
local held = redis.call('GET', runner)
if held == node and (want == 'free' or want == 'leave') then
  redis.call('DEL', runner)
  held = false
elseif held == node or (not held and want == 'take') then
  redis.call('SET', runner, node, 'PX', ms)
  held = node
end
return {'OK', '0', 0, 0, held == node and '1' or held and '0' or '', redis.call('ZCARD', runners)}
