--- @include "lib/supply"
-- What a job weighs on its holder. It counts towards their load from `begins` on: its time less the blueprint's lead. A
-- job of which that is still ahead has `ahead` in its record and its holder counts those in an `ahead` of their own;
-- that it begins is due work, `begin:<job>`.
local function load_add(z, j, t)
  if j.begins > z.now then
    redis.call('HSET', j.key, 'ahead', '1')
    redis.call('HINCRBY', t.key, 'ahead', 1)
    redis.call('ZADD', z.tag .. 'due', j.begins, 'begin:' .. j.id)
  else t.load = redis.call('HINCRBY', t.key, 'load', 1) end
end

local function load_take(z, j, t)
  if redis.call('HDEL', j.key, 'ahead') == 1 then
    redis.call('HINCRBY', t.key, 'ahead', -1)
    redis.call('ZREM', z.tag .. 'due', 'begin:' .. j.id)
  else t.load = redis.call('HINCRBY', t.key, 'load', -1) end
end

-- Its time has come, or was changed.
local function load_anew(z, j)
  local key = z.tag .. 'tech:' .. j.holder
  if j.holder == '' or redis.call('SISMEMBER', key .. ':jobs', j.id) == 0 then return end
  local t = tech_load(key)
  if not t then return end
  load_take(z, j, t)
  load_add(z, j, t)
  if supply_sync(z, t) then match_soon(z, t) end
end
