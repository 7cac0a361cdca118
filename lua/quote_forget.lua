--[[ quote_forget: deletes a quote of a person whose data is erased.
KEYS    meta  quote
ARGV    epoch
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta, quote = unpack(KEYS)
local epoch = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
redis.call('DEL', quote)
return {'OK', '0', zone.seq, 0}
