--[[ session_end: one login of a user is over. Its access tokens are refused for as long as one can be good.
KEYS    meta  account  log
ARGV    epoch  id  family  keep_ms  revoked
OK      seq  version
ERR     STALE_EPOCH
EMITS   session.revoked
]]
--- @include "lib/enter"
--- @include "lib/append"
local meta, account, log = unpack(KEYS)
local epoch, id, family, keep_ms, revoked = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local out = {string.format('%s:%.0f', family, z.now + tonumber(keep_ms))}
for one, until_ms in string.gmatch(redis.call('HGET', account, 'out') or '', '(%S+):(%d+)') do
  if tonumber(until_ms) > z.now and one ~= family then out[#out + 1] = one .. ':' .. until_ms end
end
redis.call('HSET', account, 'out', table.concat(out, ' '))
local seq = append(z, log, {type = 'session.revoked', to = 'user:' .. id, data = revoked})
leave(z)
return {'OK', '0', seq, 0}
