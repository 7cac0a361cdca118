-- The zone's clock: TIME and the stored offset. Returns now, the offset to go on with, and whether more than 5 s went by
-- unseen. TIME may step back (a server whose clock was fast, a failover to one that is slow); the zone's time never does.
-- Waiting for TIME to catch up would stop every wave and expiry meanwhile, so the difference goes into the offset once
-- and the clock ticks on. A time that nobody saw takes the offset back, as far as it goes. A step of less than a second
-- is waited out, so that small corrections of TIME do not add up.
local function clock(last, skew, offset)
  local t = redis.call('TIME')
  local real = t[1] * 1000 + math.floor(t[2] / 1000) + (tonumber(skew) or 0)
  offset = tonumber(offset) or 0
  local now = real + offset
  local unseen = now > last + 5000
  if unseen or now <= last - 1000 then
    offset = math.max(0, last - real)
    now = real + offset
  end
  return math.max(now, last), offset, unseen
end
