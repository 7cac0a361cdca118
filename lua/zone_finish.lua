--[[ zone_finish: ends the rebuild of a zone: Redis agrees with the archive, whose head is `seq` and whose id is
`database`. The zone stays closed, with `why`, until zone_open compares it. From now on the token allows no more writes.
KEYS    meta
ARGV    epoch  token  seq  database  why
OK      seq  version
ERR     STALE_EPOCH  STALE_TOKEN
]]
--- @include "lib/rebuild"
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, token, seq, database, why = unpack(ARGV)
if not Zone.enter(meta, epoch) then return {'STALE_EPOCH'} end
if not Rebuild.may_write(meta, token) then return {'STALE_TOKEN'} end
redis.call('HSET', meta, 'seq', seq, 'archived', seq, 'database', database, 'why', why)
redis.call('HDEL', meta, 'token', 'done', 'total', 'look', 'run_id') -- so that another epoch begins
return {'OK', '0', seq, 0}
