--- @include "lib/supply"
-- The technician as his customer needs him: how to call him, and where he was last.
local function holder_contact(t)
  return '{"id":"' .. t.id .. '","name":' .. t.name .. ',"rating":' .. t.rating .. ',"phone":' .. t.phone ..
    ',"lat":' .. (t.lat ~= '' and t.lat or 'null') .. ',"lon":' .. (t.lon ~= '' and t.lon or 'null') .. '}'
end

-- Who holds a job, on both sides: the job's `holder` and card, the technician's set, load and place in supply.
-- Returns the card as it is told with the job: with phone and where he is.
local function holder_take(z, j, t)
  j.holder, j.card = t.id, '{"id":"' .. t.id .. '","name":' .. t.name .. ',"rating":' .. t.rating .. '}'
  redis.call('SADD', t.key .. ':jobs', j.id)
  redis.call('ZADD', z.tag .. 'user:' .. t.id .. ':jobs', z.now, j.id)
  t.load = t.load + 1
  redis.call('HSET', t.key, 'load', t.load, 'accepted', t.accepted + 1, 'free_at', z.now)
  if t.load >= t.capacity then supply_remove(z, t) end
  return holder_contact(t)
end
