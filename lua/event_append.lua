--[[ event_append: an event that changes no hot state, once for each request key: an announcement, a review, or access
that ended; over the log, so that every gateway and SQL hear of it.
KEYS    meta  log  req
ARGV    epoch  actor  key  fingerprint  trace  bp  kind  told  data
OK      seq  version
ERR     STALE_EPOCH  REUSED_KEY
EMITS   announcement.*  session.revoked  technician.reviewed
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/append"
local meta, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, bp, kind, told, data = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local again = remembered(req, fingerprint)
if again then return again end

remember(req, fingerprint, z.seq + 1, 0, '-', 86400000)
local seq = append(z, log, {type = kind, to = told, actor = actor, bp = bp, cause = key .. ':' .. fingerprint,
  data = data, trace = trace})
leave(z)
return {'OK', '0', seq, 0}
