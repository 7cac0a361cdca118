--[[ zone_clear: deletes keys of a zone that is being rebuilt; the list has their names.
KEYS    meta
ARGV    epoch  token  names…
OK      seq  version
ERR     STALE_EPOCH  STALE_TOKEN
]]
--- @include "lib/rebuild"
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, token = unpack(ARGV)
if not Zone.enter(meta, epoch) then return {'STALE_EPOCH'} end
if not Rebuild.may_write(meta, token) then return {'STALE_TOKEN'} end
for i = 3, #ARGV do redis.call('UNLINK', ARGV[i]) end
return {'OK', '0', 0, 0}
