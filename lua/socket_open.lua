--[[ socket_open: one more socket of a user, counted over all gateways. Over the limit the oldest go: their gateways hear it.
KEYS    meta  sockets  log
ARGV    epoch  user  session  most  lease_ms
OK      seq  version  seat
ERR     STALE_EPOCH
EMITS   session.replaced
]]
--- @include "lib/enter"
--- @include "lib/append"
local meta, sockets, log = unpack(KEYS)
local epoch, user, session, most, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
-- A seat is `<when taken>:<session>`, so seats sort by age; its score is the last touch, so those of a dead gateway fall out.
redis.call('ZREMRANGEBYSCORE', sockets, '-inf', z.now - lease_ms)
local seats, seat = redis.call('ZRANGE', sockets, 0, -1), string.format('%015.0f:%s', z.now, session)
for i = #seats, 1, -1 do
  if string.sub(seats[i], 17) == session then seat = table.remove(seats, i) end
end
seats[#seats + 1] = seat
redis.call('ZADD', sockets, z.now, seat)
redis.call('PEXPIRE', sockets, lease_ms)
table.sort(seats)
local seq = 0
for i = 1, #seats - most do
  redis.call('ZREM', sockets, seats[i])
  local told = '{"session":"' .. string.sub(seats[i], 17) .. '"}'
  seq = append(z, log, {type = 'session.replaced', to = 'user:' .. user, data = told})
end
if seq > 0 then leave(z) end
return {'OK', '0', seq, 0, seat}
