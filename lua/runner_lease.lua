--[[ runner_lease: which node does a zone's background work, for as long as it renews.
KEYS    meta  runner
ARGV    epoch  node  ms
OK      seq  version  held
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/enter"
local meta, runner = unpack(KEYS)
local epoch, node, ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local held = redis.call('GET', runner)
if held and held ~= node then return {'OK', '0', 0, 0, '0'} end
redis.call('SET', runner, node, 'PX', ms)
return {'OK', '0', 0, 0, '1'}
