--[[ event_append: appends an event that changes no live state, once per idempotency key: an announcement, a review, the
end of a user's access, an entry of the audit trail, the erasure of a person, a payout, or the deletion of old events from SQL.
The event is appended to the log, so that every gateway and SQL receive the event.
KEYS    meta  log  req
ARGV    epoch  actor  key  fingerprint  trace  bp  kind  channels  data
OK      seq  version
ERR     STALE_EPOCH  REUSED_KEY
EMITS   announcement.*  audit.*  log.retired  payout.requested  payout.paid  payout.failed  session.revoked  subject.erased  technician.reviewed
]]
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/zone"
local meta, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, bp, kind, channels, data = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = Idempotency.lookup(req, fingerprint)
if again then return again end

Idempotency.store(req, fingerprint, zone.seq + 1, 0, '-', Idempotency.CREATION_MS)
local seq = EventLog.append(zone, log, {type = kind, to = channels, actor = actor, bp = bp, trace = trace,
  cause = key .. ':' .. fingerprint, data = data})
EventLog.save_seq(zone)
return {'OK', '0', seq, 0}
