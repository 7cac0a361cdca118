--[[ zone_rebuild: closes the zone so that one process can rebuild its keys from SQL. That process sends `token` with
each of its writes. If a second process has begun a rebuild meanwhile, the writes of the first one are refused. `epoch`
is the epoch that the caller found in this Redis ('' if there is none), `total` is the number of rows to write. `now` is
the time of the last archived event: the zone's time never goes below it.
KEYS    meta
ARGV    epoch  token  total  now
OK      seq  version
ERR     STALE_EPOCH
]]
--- @include "lib/rebuild"
local meta = unpack(KEYS)
local epoch, token, total, now = unpack(ARGV)
local row = redis.call('HMGET', meta, 'epoch', 'now')
if (row[1] or '') ~= epoch then return {'STALE_EPOCH'} end
redis.call('HSET', meta, 'epoch', 'closed', 'why', Rebuild.WHY, 'token', token, 'done', 0, 'total', total)
if tonumber(now) > (tonumber(row[2]) or 0) then redis.call('HSET', meta, 'now', now) end
return {'OK', '0', 0, 0}
