--[[ zone_close: closes the zone, because log and archive contradict each other (`why` is an error of zone_open) or
because an operator closes it (PAUSED). No command is accepted until zone_open finds that log and archive agree, and
never while `why` is PAUSED or FOREIGN_ROW: the operator, or the process that finds the row gone, then calls this script
with another `why`.
KEYS    meta
ARGV    epoch  why
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, why = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
redis.call('HSET', meta, 'epoch', 'closed', 'why', why)
return {'OK', '0', zone.seq, 0}
