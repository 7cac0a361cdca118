--[[ due_take: what must happen now. Nothing is removed: each entry moves 10 s ahead, and the script that does the
work removes or moves it in its own step, so that a runner that dies loses nothing.
KEYS    meta  due  seen
ARGV    epoch  limit  lease_ms
OK      seq  version  wait_ms  entries…
ERR     STALE_EPOCH
]]
--- @include "lib/enter"
local meta, due, seen = unpack(KEYS)
local epoch, limit, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
redis.call('HSET', meta, 'now', z.now)
limit = tonumber(limit)
local ready = redis.call('ZRANGEBYSCORE', due, '-inf', z.now, 'LIMIT', 0, limit * 4)
local classes, order = {}, {'wave', 'offers', 'expire', 'match', 'lease', 'forget'}
for _, entry in ipairs(ready) do
  local class = string.match(entry, '^%a+')
  classes[class] = classes[class] or {}
  table.insert(classes[class], entry)
end
-- Leases have one home, `seen`; the sweep does not apply within one lease after the zone was stopped.
if z.opened == 0 or z.now > z.opened + lease_ms then
  classes.lease = {}
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', z.now - lease_ms, 'LIMIT', 0, limit)) do
    table.insert(classes.lease, 'lease:' .. id)
  end
end
-- In turn from the classes, so that a burst of one does not hold up the others.
local taken, found = {}, true
while found and #taken < limit do
  found = false
  for _, class in ipairs(order) do
    local entry = classes[class] and table.remove(classes[class], 1)
    if entry and #taken < limit then
      found = true
      taken[#taken + 1] = entry
      if class ~= 'lease' then redis.call('ZADD', due, z.now + 10000, entry) end
    end
  end
end
local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
local wait = #taken == limit and 0 or first[2] and math.max(0, tonumber(first[2]) - z.now) or 1000
return {'OK', '0', z.seq, 0, math.min(wait, 1000), unpack(taken)}
