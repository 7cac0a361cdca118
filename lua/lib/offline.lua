--- @include "lib/status"
--- @include "lib/withdrawing"
-- Going offline, however it comes about: out of supply and lease, open offers withdrawn, and `words` told why.
local function go_offline(z, t, seen, log, why)
  local actor, cause = why.actor, why.cause
  t.online = ''
  redis.call('HSET', t.key, 'online', '')
  redis.call('ZREM', seen, t.id)
  supply_remove(z, t)
  offers_withdraw(z, t.id, nil, function(j)
    append(z, log, offer_closed(j, {'user:' .. t.id}, 'withdrawn', 'Offer withdrawn', actor, cause))
  end)
  local event = tech_status(t, false, why.reason, why.words)
  event.actor, event.cause = actor, cause
  return append(z, log, event)
end
