-- The zone of a script: its epoch, its clock and whether a time has passed by that clock.
--- @include "lib/clock"
--- @include "lib/job_state"
--- @include "lib/memo"
local Zone = {}

-- Returns the hash tag with which all keys of the zone begin.
Zone.tag_of = Memo.of(function(meta) return string.match(meta, '^{[^}]*}:') end)

-- Begins every script: compares the caller's epoch with the zone's epoch and reads the clock. Returns nil for a stale
-- epoch (the caller replies STALE_EPOCH before its first write). If a longer time passed unobserved (lib/clock), nobody
-- could renew a lease or answer an offer: Redis or all Callout processes were stopped. A new opened_at then starts a
-- new grace before any other action.
function Zone.enter(meta, epoch)
  local values = redis.call('HMGET', meta, 'epoch', 'now', 'opened_at', 'skew', 'seq', 'offset')
  if values[1] ~= epoch then return nil end
  local now, offset, unseen = Clock.read(tonumber(values[2]) or 0, values[4], values[6])
  local zone = {meta = meta, tag = Zone.tag_of(meta), now = now, opened = tonumber(values[3]) or 0,
    seq = tonumber(values[5]) or 0}
  JobState.begin()
  if unseen then
    zone.opened = now
    redis.call('HSET', meta, 'opened_at', now, 'now', now)
  end
  if offset ~= (tonumber(values[6]) or 0) then redis.call('HSET', meta, 'offset', offset, 'now', now) end
  return zone
end

-- Returns whether something that ends at `at` (ms) has ended. Returns false within one lease after the zone (re)opened.
function Zone.has_ended(zone, at, lease)
  return at > 0 and zone.now > at and (zone.opened == 0 or zone.now > zone.opened + lease)
end
