--[[ socket_settle: closes sockets of a user who has too many: the sockets whose clients were silent for the longest
time. These clients may come back later. If `by_age` is 1, the oldest sockets are closed instead: the client of a stream
sends nothing, so the score of its slot is only the time when its gateway touched it.
KEYS    meta  sockets  log
ARGV    epoch  user  max_sockets  lease_ms  by_age
OK      seq  version
ERR     STALE_EPOCH
EMITS   session.replaced
]]
--- @include "lib/event_log"
--- @include "lib/zone"
local meta, sockets, log = unpack(KEYS)
local epoch, user, max_sockets, lease_ms, by_age = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
redis.call('ZREMRANGEBYSCORE', sockets, '-inf', zone.now - lease_ms)
local slots, seq = redis.call('ZRANGE', sockets, 0, -1), 0
if by_age == '1' then table.sort(slots) end -- a slot begins with the time at which it was taken
for i = 1, #slots - max_sockets do
  redis.call('ZREM', sockets, slots[i])
  local data = '{"session":"' .. string.match(slots[i], '^%d+:([^:]*)') .. '","code":4010}'
  seq = EventLog.append(zone, log, {type = 'session.replaced', to = 'user:' .. user, data = data})
end
if seq > 0 then EventLog.save_seq(zone) end
return {'OK', '0', seq, 0}
