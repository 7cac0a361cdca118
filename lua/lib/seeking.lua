-- On offer, and no longer: the one place that knows what looking for a technician leaves in the indexes.
-- `at` is when it begins and `life` how long it lasts from then on, both ms. A scheduled job waits for its time, but not
-- for bids or an answer: those take theirs, and where none of them can be taken before its time (`waits`), it lasts from
-- then on. One whose time is near already lasts at least until then.
local function seeking_from(z, j, release)
  return (j.mode == 'bids' or j.mode == 'direct') and z.now or math.max(z.now, release)
end

local function seeking_begins(z, j, at, life)
  local due = z.tag .. 'due'
  at = seeking_from(z, j, at)
  redis.call('HSET', j.key, 'release', string.format('%.0f', at))
  if life > 0 then
    local v = redis.call('HMGET', j.key, 'scheduled', 'begins')
    j.expires = (j.waits and math.max(at, tonumber(v[2]) or 0) or at) + life
    if (tonumber(v[2]) or 0) <= z.now then j.expires = math.max(j.expires, tonumber(v[1]) or 0) end
    redis.call('ZADD', due, j.expires, 'expire:' .. j.id)
  end
  if j.mode == 'allocate' then redis.call('ZADD', due, at, 'allocate:' .. j.id .. ':1')
  elseif j.mode ~= 'direct' then
    local v = redis.call('HMGET', j.key, 'lon', 'lat')
    redis.call('GEOADD', z.tag .. 'demand:' .. j.service, v[1], v[2], j.id)
    redis.call('ZADD', due, at, 'wave:' .. j.id .. ':1')
  end
end

-- Whether it was put off after its entry had been taken as due, which then waits for the new time.
local function put_off(z, j, entry)
  local release = tonumber(redis.call('HGET', j.key, 'release')) or 0
  if release > z.now then redis.call('ZADD', z.tag .. 'due', release, entry) end
  return release > z.now
end

-- Before or after the move: `mode` is how it was looked for. The last wave's radius says whether `wide` has it.
local function seeking_ends(z, j, mode)
  local next = j.id .. ':' .. j.wave + 1
  redis.call('ZREM', z.tag .. 'demand:' .. j.service, j.id)
  if j.radius == '0' then redis.call('ZREM', z.tag .. 'wide:' .. j.service, j.id) end
  redis.call('ZREM', z.tag .. 'due', 'expire:' .. j.id, (mode == 'allocate' and 'allocate:' or 'wave:') .. next)
end

-- On offer, for the first time or anew: what was offered before is over, and wave one is the next.
local function seeking_again(z, j, offers, life)
  local all = redis.call('HGETALL', offers)
  for i = 1, #all, 2 do
    local status, rest = string.match(all[i + 1], '^(%S+)( .*)$')
    if status == 'sent' or status == 'accepted' then redis.call('HSET', offers, all[i], 'expired' .. rest) end
  end
  redis.call('HSET', j.key, 'wave', 0, 'walk', '')
  j.wave = 0
  seeking_begins(z, j, tonumber(redis.call('HGET', j.key, 'release')) or 0, life)
end
