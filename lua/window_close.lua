--[[ window_close: ends a matching window of a service. Its scheduled task is `window:<service>`. While jobs wait, the next
window is due after `length_ms`; with `more` = 1 at once, because this window did not look at all jobs. If nobody is free,
the next one is due after `idle_ms`, or sooner if somebody becomes free (lib/window).
KEYS    meta  open  supply  due
ARGV    epoch  entry  length_ms  idle_ms  more
OK      seq  version  waiting
ERR     STALE_EPOCH
]]
--- @include "lib/zone"
local meta, open, supply, due = unpack(KEYS)
local epoch, entry, length_ms, idle_ms, more = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local waiting = redis.call('ZCARD', open)
if waiting == 0 then redis.call('ZREM', due, entry)
else
  local free = redis.call('ZCARD', supply) > 0
  redis.call('ZADD', due, zone.now + (not free and idle_ms or more == '1' and 0 or length_ms), entry)
end
return {'OK', '0', 0, 0, waiting}
