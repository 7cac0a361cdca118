--- @include "lib/load"
-- The holder has room again (the job keeps his name on it: it was his). Where they are now is theirs; the job keeps where
-- they were, when that was, when the work was over, and in which state it was until then.
local function holder_free(z, j)
  if redis.call('SREM', z.tag .. 'tech:' .. j.holder .. ':jobs', j.id) == 0 then return end
  local t = tech_load(z.tag .. 'tech:' .. j.holder)
  if not t then return end
  load_take(z, j, t)
  redis.call('HSET', t.key, 'free_at', z.now)
  if t.lat ~= '' then
    redis.call('HSET', j.key, 'track', table.concat({t.id, t.lat, t.lon, string.format('%.0f %.0f', t.fix_at, z.now),
      j.was or j.status}, ' '))
  end
  if supply_sync(z, t) then match_soon(z, t) end
end

-- The work goes on after all: he is as busy with it as before.
local function holder_back(z, j)
  local key = z.tag .. 'tech:' .. j.holder
  if redis.call('SISMEMBER', key .. ':jobs', j.id) == 1 then return end
  local t = tech_load(key)
  if not t then return end
  redis.call('SADD', key .. ':jobs', j.id)
  load_add(z, j, t)
  supply_sync(z, t)
end

-- The holder leaves: the job is not among his any more, he is not asked for it again, and what was proposed to him or
-- by him is over, should he ever be given it once more.
local function holder_left(z, j, offers)
  holder_free(z, j)
  redis.call('ZREM', z.tag .. 'user:' .. j.holder .. ':jobs', j.id)
  redis.call('HDEL', j.key, 'proposal')
  redis.call('HSET', offers, j.holder, string.format('left 0 %.0f %.0f 0', z.now, z.now))
end
