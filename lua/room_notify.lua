--[[ room_notify: appends the notifications of unread messages to members of a room who are absent: a member gets no
second notification before they have read the room. `n` is the number of the last message when the caller examined the
room, and `wait_ms` is after how many ms it must be examined again ('' if it need not be). `notices` contains two values
for each notification: the member, and its data. A member who left, has read, or was notified meanwhile is left out. Its
scheduled task `notify:<room>` is removed or postponed here.
KEYS    meta  room  read  due  log
ARGV    epoch  entry  n  wait_ms  notices…
OK      seq  version
ERR     STALE_EPOCH
EMITS   notification
]]
--- @include "lib/event_log"
--- @include "lib/room_notice"
--- @include "lib/room_view"
--- @include "lib/zone"
local meta, room_key, read, due, log = unpack(KEYS)
local epoch, entry, n, wait_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local row = redis.call('HMGET', room_key, 'n', 'bp')
if row[1] and row[1] ~= n then wait_ms = math.min(tonumber(wait_ms) or RoomNotice.RETRY_MS, RoomNotice.RETRY_MS) end
if wait_ms == '' then redis.call('ZREM', due, entry) else redis.call('ZADD', due, zone.now + wait_ms, entry) end
local events = {}
for i = 5, #ARGV, 2 do
  local user = ARGV[i]
  local text = redis.call('HGET', room_key, 'm:' .. user)
  local marks = redis.call('HMGET', read, user, 'noticed:' .. user)
  local mark = math.max(tonumber(marks[1] or 0), RoomView.from_n(text))
  if text and tonumber(row[1]) > mark and tonumber(marks[2] or 0) <= mark then
    redis.call('HSET', read, 'noticed:' .. user, row[1])
    events[#events + 1] = {type = 'notification', to = 'user:' .. user, data = ARGV[i + 1], bp = row[2]}
  end
end
for _, event in ipairs(events) do EventLog.append(zone, log, event) end
if #events > 0 then EventLog.save_seq(zone) end
return {'OK', '0', zone.seq, 0}
