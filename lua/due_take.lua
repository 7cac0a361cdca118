--[[ due_take: what must happen now. Nothing is removed: each entry moves 10 s ahead, and the script that does the
work removes or moves it in its own step, so that a runner that dies loses nothing.
KEYS    meta  due  seen
ARGV    epoch  limit  lease_ms
OK      seq  version  wait_ms  entries…
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/enter"
--- @include "lib/backlog"
local meta, due, seen = unpack(KEYS)
local epoch, limit, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
redis.call('HSET', meta, 'now', z.now)
limit = tonumber(limit)
local classes, order = {}, {'wave', 'offers', 'opens', 'expire', 'match', 'allocate', 'timer', 'begin', 'lease', 'forget'}
for _, class in ipairs(order) do classes[class] = {} end
for _, entry in ipairs(backlog(z, meta, due, limit * 4)) do
  local class = string.match(entry, '^%a+')
  if not classes[class] then classes[class], order[#order + 1] = {}, class end
  table.insert(classes[class], entry)
end
-- Leases have one home, `seen`; the sweep does not apply within one lease after the zone was stopped.
if z.opened == 0 or z.now > z.opened + lease_ms then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', z.now - lease_ms, 'LIMIT', 0, limit)) do
    table.insert(classes.lease, 'lease:' .. id)
  end
end
-- In turn from the classes, so that a burst of one does not hold up the others.
local taken, found, place = {}, true, 0
while found and #taken < limit do
  found, place = false, place + 1
  for _, class in ipairs(order) do
    local entry = classes[class][place]
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
