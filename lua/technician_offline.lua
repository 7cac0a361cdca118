--[[ technician_offline: by himself, or by the lease sweep, which is a no-op where he was heard of meanwhile.
KEYS    meta  tech  seen  log  req
ARGV    epoch  id  actor  key  fingerprint  reason  lease_ms  words
OK      seq  version  clock  load
ERR     STALE_EPOCH  REUSED_KEY
EMITS   technician.status  offer.closed
FLAGS   allow-oom
TOUCHES {z}:supply:*  {z}:due  {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/job"
--- @include "lib/supply"
--- @include "lib/offers"
--- @include "lib/closing"
--- @include "lib/append"
--- @include "lib/offline"
local meta, tech, seen, log, req = unpack(KEYS)
local epoch, id, actor, key, fingerprint, reason, lease_ms, words = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local again = key ~= '' and remembered(req, fingerprint)
local t, clock = tech_load(tech), redis.call('HGET', tech, 'clock') or ''
if again and again[1] == 'OK' then return {'OK', '1', again[3], 0, clock, t and t.load or 0} end
if again then return again end
if reason == 'lease' then
  local last = tonumber(redis.call('ZSCORE', seen, id) or '')
  if last and not over(z, last + lease_ms, lease_ms) then return {'OK', '0', 0, 0, clock, t and t.load or 0} end
end
local seq, cause = z.seq, key ~= '' and key .. ':' .. fingerprint or ''
if t and t.online == '1' then
  seq = go_offline(z, t, seen, log, {reason = reason, actor = actor, cause = cause, words = words})
  leave(z)
else redis.call('ZREM', seen, id) end
if key ~= '' then remember(req, fingerprint, seq, 0, '-', 600000) end
return {'OK', '0', seq, 0, clock, t and t.load or 0}
