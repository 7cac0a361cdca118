--[[ runner_lease: acquires, renews or releases the lease of the process (`node`) that does a zone's background work,
and counts the candidates. `want` is take (acquire a free lease), keep (renew only an own lease), free (release it), or
leave (release it, and be no candidate any more). The reply's `held` is 1 if this process has the lease, 0 if another
one has it, and empty if it is free; `nodes` counts the candidates.
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
