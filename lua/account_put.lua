--[[ account_put: what is checked on every request: role and activity. An older version than the known changes nothing.
KEYS    meta  account  log
ARGV    epoch  id  role  active  version  name  zone  actor  revoked
OK      seq  version
ERR     STALE_EPOCH
EMITS   session.revoked
]]
--- @include "lib/enter"
--- @include "lib/append"
local meta, account, log = unpack(KEYS)
local epoch, id, role, active, version, name, zone, actor, revoked = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local known = redis.call('HGET', account, 'version')
if known and tonumber(known) >= tonumber(version) then return {'OK', '1', 0, known} end
redis.call('HSET', account, 'role', role, 'active', active, 'version', version, 'name', name, 'zone', zone)
local seq = 0
if revoked ~= '' then
  seq = append(z, log, {type = 'session.revoked', to = 'user:' .. id, actor = actor, data = revoked})
end
if seq > 0 then leave(z) end
return {'OK', '0', seq, version}
