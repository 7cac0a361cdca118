--[[ notification_append: appends the notifications for the log's events up to `to_seq`, once, by compare-and-set of the
cursor. `notifications` contains three values for each of `count` notifications (user, data, blueprint), and then the
rooms in which messages were said: each room gets the scheduled task that notifies its absent members (room_notify),
unless it has one. The entry of this task is `notify:<room>`.
KEYS    meta  log  cursor  due
ARGV    epoch  from_seq  to_seq  count  notifications…
OK      seq  version  moved
ERR     STALE_EPOCH
EMITS   notification
]]
--- @include "lib/event_log"
--- @include "lib/zone"
local meta, log, cursor, due = unpack(KEYS)
local epoch, from_seq, to_seq, count = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if (redis.call('GET', cursor) or '0') ~= from_seq then return {'OK', '1', 0, 0, '0'} end
redis.call('SET', cursor, to_seq)
count = tonumber(count)
for i = 3 * count + 5, #ARGV do redis.call('ZADD', due, 'NX', zone.now, 'notify:' .. ARGV[i]) end
for i = 1, count do
  EventLog.append(zone, log, {type = 'notification', to = 'user:' .. ARGV[3 * i + 2], data = ARGV[3 * i + 3],
    bp = ARGV[3 * i + 4]})
end
EventLog.save_seq(zone)
return {'OK', '0', zone.seq, 0, '1'}
