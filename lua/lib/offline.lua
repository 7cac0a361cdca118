--- @include "lib/status"
-- Going offline, however it comes about: out of supply and lease, open offers withdrawn, ops told.
local function go_offline(z, t, seen, log, reason, actor, cause)
  t.online = ''
  redis.call('HSET', t.key, 'online', '')
  redis.call('ZREM', seen, t.id)
  supply_remove(z, t)
  for _, id in ipairs(redis.call('ZRANGE', t.key .. ':offers', 0, -1)) do
    local j = job_load(z.tag .. 'job:' .. id)
    local text = j and j.phase == 'open' and j.holder == '' and redis.call('HGET', j.key .. ':offers', t.id)
    if text and string.sub(text, 1, 5) == 'sent ' then
      redis.call('HSET', j.key .. ':offers', t.id, 'withdrawn' .. string.sub(text, 5))
      append(z, log, offer_closed(j, {'user:' .. t.id}, 'withdrawn', 'Offer withdrawn', actor, cause))
      wave_hasten(z, j, j.key .. ':offers')
    end
  end
  redis.call('DEL', t.key .. ':offers')
  local event = tech_status(t, false, reason)
  event.actor, event.cause = actor, cause
  return append(z, log, event)
end
