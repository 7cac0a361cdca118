--[[ stats_add: adds a sample of one process, its figures since its previous sample, to the samples of all processes.
The entry's id is the time of Redis, so that the samples of several hosts have one clock.
KEYS    samples
ARGV    sample
OK      seq  version
]]
--- @include "lib/clock"
--- @include "lib/stats"
local samples = unpack(KEYS)
local sample = unpack(ARGV)
redis.call('XADD', samples, '*', 's', sample)
redis.call('XTRIM', samples, 'MINID', '~', string.format('%.0f', Clock.server_time() - Stats.KEEP_MS))
redis.call('PEXPIRE', samples, Stats.KEEP_MS)
return {'OK', '0', 0, 0}
