--[[ customer_put: whether a customer is active, as SQL has it, for the scripts of this zone that make offers (joins in lib/joining).
An older version than the known changes nothing. Who is active needs no mark: it goes after a day.
KEYS    meta  held
ARGV    epoch  version  active
OK      seq  version
ERR     STALE_EPOCH
]]
--- @include "lib/enter"
local meta, held = unpack(KEYS)
local epoch, version, active = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local known = tonumber(redis.call('HGET', held, 'version')) or 0
if known > tonumber(version) then return {'OK', '1', 0, known} end
redis.call('HSET', held, 'version', version, 'active', active)
if active == '1' then redis.call('EXPIRE', held, 86400) else redis.call('PERSIST', held) end
return {'OK', '0', 0, version}
