--- @include "lib/clock"
-- The way into every script: is the caller's epoch the zone's, and what time is it?
-- Returns nil for a stale epoch (the caller replies STALE_EPOCH before its first write).
-- Where more than 5 s went by unseen, nobody could renew a lease or answer an offer: Redis or all our processes were
-- stopped. opened_at restarts the grace before anything else.
local function enter(meta, epoch)
  local m = redis.call('HMGET', meta, 'epoch', 'now', 'opened_at', 'skew', 'seq', 'offset')
  if m[1] ~= epoch then return nil end
  local now, offset, unseen = clock(tonumber(m[2]) or 0, m[4], m[6])
  local z = {meta = meta, now = now, opened = tonumber(m[3]) or 0, seq = tonumber(m[5]) or 0}
  z.tag = string.match(meta, '^{[^}]*}:')
  if unseen then
    z.opened = now
    redis.call('HSET', meta, 'opened_at', now, 'now', now)
  end
  if offset ~= (tonumber(m[6]) or 0) then redis.call('HSET', meta, 'offset', offset, 'now', now) end
  return z
end

-- Whether something that ends at `at` (ms) has ended: not within one lease after the zone (re)opened.
local function over(z, at, lease)
  return at > 0 and z.now > at and (z.opened == 0 or z.now > z.opened + lease)
end
