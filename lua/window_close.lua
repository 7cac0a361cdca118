--[[ window_close: ends a matching window of a service and makes the next one due. The scheduled task of a window is
`window:<service>`. The next window is due after `length_ms`; at once with `more` = 1, because this window did not look at
all jobs; after `idle_ms` if nobody is free, or sooner if somebody becomes free (lib/window). If no job waits, no window
is due.
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
