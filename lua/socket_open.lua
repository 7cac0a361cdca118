--[[ socket_open: one more socket of a user, counted over all gateways. It takes the place of the one of the same device,
and of the one that it names. Over the limit every gateway is asked when it last heard of its own (socket_settle).
KEYS    meta  sockets  log
ARGV    epoch  user  session  device  replaces  most  lease_ms
OK      seq  version  seat  over
ERR     STALE_EPOCH
EMITS   session.replaced  session.crowded
]]
--- @include "lib/enter"
--- @include "lib/append"
local meta, sockets, log = unpack(KEYS)
local epoch, user, session, device, replaces, most, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
-- A seat is `<when taken>:<session>:<device>`; its score is when its client was last heard of, so the seats of a gateway
-- that died fall out.
redis.call('ZREMRANGEBYSCORE', sockets, '-inf', z.now - lease_ms)
local seat, count, seq = string.format('%015.0f:%s:%s', z.now, session, device), 1, 0
for _, one in ipairs(redis.call('ZRANGE', sockets, 0, -1)) do
  local whose, app = string.match(one, '^%d+:([^:]*):?(.*)$')
  if whose == session then
    seat = one
  elseif device ~= '' and app == device or replaces ~= '' and whose == replaces then
    redis.call('ZREM', sockets, one)
    local told = '{"session":"' .. whose .. '","code":4505}'
    seq = append(z, log, {type = 'session.replaced', to = 'user:' .. user, data = told})
  else
    count = count + 1
  end
end
redis.call('ZADD', sockets, z.now, seat)
redis.call('PEXPIRE', sockets, lease_ms)
local over = count > tonumber(most)
if over then seq = append(z, log, {type = 'session.crowded', to = 'user:' .. user, data = '{}'}) end
if seq > 0 then leave(z) end
return {'OK', '0', seq, 0, seat, over and '1' or '0'}
