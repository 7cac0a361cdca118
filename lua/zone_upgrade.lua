--[[ zone_upgrade: lets writers use `format` in the zone from now on. The zone's epoch ends, so that every process calls
zone_open before its next command, which refuses a release that does not know the format. A closed zone stays closed for
its reason.
KEYS    meta
ARGV    epoch  format
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, format = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
redis.call('HSET', meta, 'format', format)
if epoch ~= 'closed' then redis.call('HSET', meta, 'epoch', 'closed', 'why', 'UPGRADED') end
return {'OK', '0', zone.seq, 0}
