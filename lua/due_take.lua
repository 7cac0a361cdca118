--[[ due_take: returns the work that is due now and reserves it for the caller. Nothing is removed: each entry becomes
due again after Backlog.TAKEN_MS, and the script that does the work removes or postpones the entry in the same step.
Therefore no work is lost if a runner dies.
KEYS    meta  due  seen
ARGV    epoch  limit  lease_ms
OK      seq  version  wait_ms  entries…
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/backlog"
--- @include "lib/zone"
local meta, due, seen = unpack(KEYS)
local epoch, limit, lease_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
redis.call('HSET', meta, 'now', zone.now)
limit = tonumber(limit)
local classes = {}
local order = {'wave', 'close', 'offers', 'opens', 'expire', 'match', 'window', 'allocate', 'timer', 'promise', 'begin',
  'track', 'lease', 'forget', 'room', 'read', 'notify'}
for _, class in ipairs(order) do classes[class] = {} end
for _, entry in ipairs(Backlog.select(zone, meta, due, limit * 4)) do
  local class = string.match(entry, '^%a+')
  if not classes[class] then classes[class], order[#order + 1] = {}, class end
  table.insert(classes[class], entry)
end
-- Presence leases are stored only in `seen`. None of them is due within one lease after the zone was opened, because
-- nobody could renew a lease while the zone was closed.
if zone.opened == 0 or zone.now > zone.opened + lease_ms then
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', zone.now - lease_ms, 'LIMIT', 0, limit)) do
    table.insert(classes.lease, 'lease:' .. id)
  end
end
-- The classes alternate, so that a burst of one class does not delay the others.
local taken, found, place = {}, true, 0
while found and #taken < limit do
  found, place = false, place + 1
  for _, class in ipairs(order) do
    local entry = classes[class][place]
    if entry and #taken < limit then
      found = true
      taken[#taken + 1] = entry
      if class ~= 'lease' then redis.call('ZADD', due, zone.now + Backlog.TAKEN_MS, entry) end
    end
  end
end
local first = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
local wait = #taken == limit and 0 or first[2] and math.max(0, tonumber(first[2]) - zone.now) or Backlog.MAX_WAIT_MS
return {'OK', '0', zone.seq, 0, math.min(wait, Backlog.MAX_WAIT_MS), unpack(taken)}
