-- Sets a technician offline, withdraws their open offers, and appends the event.
--- @include "lib/event_log"
--- @include "lib/offer_closure"
--- @include "lib/offer_withdrawal"
--- @include "lib/supply"
--- @include "lib/technician_status"
local Presence = {}

-- Sets a technician offline: removes them from the supply index and the leases, and withdraws their open offers. The
-- event is sent to `why.audience`. Returns the seq of the event.
function Presence.go_offline(zone, tech, seen, log, why)
  local actor, cause = why.actor, why.cause
  tech.online = ''
  redis.call('HSET', tech.key, 'online', '')
  redis.call('ZREM', seen, tech.id)
  Supply.remove(zone, tech)
  OfferWithdrawal.withdraw(zone, tech.id, nil, function(job)
    EventLog.append(zone, log,
      OfferClosure.event(job, {'user:' .. tech.id}, 'withdrawn', 'Offer withdrawn', actor, cause))
  end)
  local event = TechnicianStatus.event(tech, false, why.reason, why.audience)
  event.actor, event.cause = actor, cause
  return EventLog.append(zone, log, event)
end
