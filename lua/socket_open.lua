--[[ socket_open: adds a socket of a user; the limit counts the user's sockets at all gateways. The new socket replaces
the socket of the same device and the socket of the session `replaces`. Over the limit, an event asks every gateway when
its clients last sent something (socket_settle).
KEYS    meta  sockets  log
ARGV    epoch  user  session  device  replaces  max_sockets  lease_ms
OK      seq  version  slot  over
ERR     STALE_EPOCH
EMITS   session.replaced  session.crowded
]]
--- @include "lib/event_log"
--- @include "lib/zone"
local meta, sockets, log = unpack(KEYS)
local epoch, user, session, device, replaces, max_sockets, lease_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
-- A connection slot is `<time taken>:<session>:<device>`. Its score is the time of the client's last message, so that
-- the slots of a gateway that died expire.
redis.call('ZREMRANGEBYSCORE', sockets, '-inf', zone.now - lease_ms)
local slot, count, seq = string.format('%015.0f:%s:%s', zone.now, session, device), 1, 0
for _, one in ipairs(redis.call('ZRANGE', sockets, 0, -1)) do
  local whose, app = string.match(one, '^%d+:([^:]*):?(.*)$')
  if whose == session then
    slot = one
  elseif device ~= '' and app == device or replaces ~= '' and whose == replaces then
    redis.call('ZREM', sockets, one)
    local data = '{"session":"' .. whose .. '","code":4505}'
    seq = EventLog.append(zone, log, {type = 'session.replaced', to = 'user:' .. user, data = data})
  else
    count = count + 1
  end
end
redis.call('ZADD', sockets, zone.now, slot)
redis.call('PEXPIRE', sockets, lease_ms)
local over = count > tonumber(max_sockets)
if over then seq = EventLog.append(zone, log, {type = 'session.crowded', to = 'user:' .. user, data = '{}'}) end
if seq > 0 then EventLog.save_seq(zone) end
return {'OK', '0', seq, 0, slot, over and '1' or '0'}
