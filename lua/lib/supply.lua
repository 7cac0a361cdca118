--- @include "lib/tech"
-- The supply index says who could take a job now. It is kept true in the step that changes it, and is a hint only:
-- a wave checks each candidate's hot record again.
local function supply_remove(z, t)
  if t.indexed == '' then return end
  for service in string.gmatch(t.indexed, '%S+') do redis.call('ZREM', z.tag .. 'supply:' .. service, t.id) end
  t.indexed = ''
  redis.call('HSET', t.key, 'indexed', '')
end

local function supply_place(z, t)
  for service in string.gmatch(t.services, '%S+') do
    redis.call('GEOADD', z.tag .. 'supply:' .. service, t.lon, t.lat, t.id)
  end
  t.indexed = t.services
  redis.call('HSET', t.key, 'indexed', t.indexed, 'ilat', t.lat, 'ilon', t.lon, 'iat', z.now)
end

-- Bring the index in line with the record. Returns whether he stands in it now.
local function supply_sync(z, t)
  if t.online == '1' and not unfit(t) and t.load < t.capacity and t.lat ~= '' then
    if t.indexed ~= t.services then supply_remove(z, t) end
    supply_place(z, t)
    return true
  end
  supply_remove(z, t)
  return false
end

-- Look for open jobs on his behalf: he came online, came nearer or became free.
local function match_soon(z, t)
  redis.call('ZADD', z.tag .. 'due', z.now, 'match:' .. t.id)
  redis.call('HSET', t.key, 'mlat', t.lat, 'mlon', t.lon)
end
