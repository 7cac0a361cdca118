--[[ socket_settle: of a user's sockets over the limit those that were heard of longest ago go, and may come back later.
KEYS    meta  sockets  log
ARGV    epoch  user  most  lease_ms
OK      seq  version
ERR     STALE_EPOCH
EMITS   session.replaced
]]
--- @include "lib/enter"
--- @include "lib/append"
local meta, sockets, log = unpack(KEYS)
local epoch, user, most, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
redis.call('ZREMRANGEBYSCORE', sockets, '-inf', z.now - lease_ms)
local seats, seq = redis.call('ZRANGE', sockets, 0, -1), 0
for i = 1, #seats - most do
  redis.call('ZREM', sockets, seats[i])
  local told = '{"session":"' .. string.match(seats[i], '^%d+:([^:]*)') .. '","code":4010}'
  seq = append(z, log, {type = 'session.replaced', to = 'user:' .. user, data = told})
end
if seq > 0 then leave(z) end
return {'OK', '0', seq, 0}
