-- The holder has room again (the job keeps his name on it: it was his).
local function holder_free(z, j)
  if redis.call('SREM', z.tag .. 'tech:' .. j.holder .. ':jobs', j.id) == 0 then return end
  local t = tech_load(z.tag .. 'tech:' .. j.holder)
  if not t then return end
  t.load = redis.call('HINCRBY', t.key, 'load', -1)
  redis.call('HSET', t.key, 'free_at', z.now)
  if supply_sync(z, t) then match_soon(z, t) end
end
