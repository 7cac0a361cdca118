--- @include "lib/load"
-- Who holds a job, on both sides: the job's `holder` and card, the technician's set, load and place in supply. The card
-- has neither phone nor position: it stands in events, which are replayed.
local function holder_take(z, j, t)
  j.unaccepted, j.holder, j.card = '', t.id, '{"id":"' .. t.id .. '","name":' .. t.name .. ',"rating":' .. t.rating .. '}'
  redis.call('SADD', t.key .. ':jobs', j.id)
  redis.call('ZADD', z.tag .. 'user:' .. t.id .. ':jobs', z.now, j.id)
  if j.begins > z.now then load_add(z, j, t) else t.load = t.load + 1 end
  redis.call('HSET', t.key, 'load', t.load, 'accepted', t.accepted + 1, 'free_at', z.now)
  if t.load >= t.capacity then supply_remove(z, t) end
end
