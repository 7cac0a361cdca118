--[[ quote_create: stores a quote, a price that is promised to a customer for `valid_ms`, once per idempotency key.
`members` are the members of the quote as JSON, which the caller computed. A repeat changes nothing; its `seq` is that
of the event with the first quote.
KEYS    meta  log  req
ARGV    epoch  id  actor  key  fingerprint  trace  customer  members  valid_ms
OK      seq  version  data
ERR     STALE_EPOCH  REUSED_KEY
EMITS   quote.created
TOUCHES {z}:quote:*  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/quotes"
--- @include "lib/zone"
local meta, log, req = unpack(KEYS)
local epoch, id, actor, key, fingerprint, trace, customer, members, valid_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = Idempotency.lookup(req, fingerprint)
if again then return again end

Idempotency.store(req, fingerprint, zone.seq + 1, 0, '-', Idempotency.CREATION_MS)
local request = {actor = actor, cause = key .. ':' .. fingerprint, trace = trace}
local event = Quotes.create(zone, id, customer, members, valid_ms, '', request)
local seq = EventLog.append(zone, log, event)
EventLog.save_seq(zone)
return {'OK', '0', seq, 0, event.data}
