-- The zone's clock: TIME plus the stored offset. TIME may step back (a server whose clock was fast, a failover to a
-- server whose clock is slow); the zone's time never steps back. Waiting for TIME to catch up would stop every wave and
-- expiry, so the difference is added to the offset once and the clock continues. An unobserved period reduces the
-- offset again, by the length of the period. After a step back of less than a second the clock does not advance until
-- TIME has caught up, so that small corrections of TIME do not add up.
local Clock = {}

-- A period without a script is unobserved when it is longer than UNSEEN_MS. A step back is a step of at least STEP_MS.
Clock.UNSEEN_MS, Clock.STEP_MS = 5000, 1000

-- Returns TIME in milliseconds.
function Clock.server_time()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Returns now, the new offset, and whether more than UNSEEN_MS passed unobserved.
function Clock.read(last, skew, offset)
  local real = Clock.server_time() + (tonumber(skew) or 0)
  offset = tonumber(offset) or 0
  local now = real + offset
  local unseen = now > last + Clock.UNSEEN_MS
  if unseen or now <= last - Clock.STEP_MS then
    offset = math.max(0, last - real)
    now = real + offset
  end
  return math.max(now, last), offset, unseen
end
