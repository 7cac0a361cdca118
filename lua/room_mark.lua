--[[ room_mark: moves a member's read mark forward to `n`; a mark that is higher already stays. The members receive it
at most once in Messages.MARK_INTERVAL_MS. A mark in between is sent later by the scheduled task `read:<room>:<user>`,
which calls this script with its `entry`.
KEYS    meta  room  read  due  log
ARGV    epoch  user  n  entry  actor  trace
OK      seq  version  n
ERR     STALE_EPOCH  NOT_FOUND  NOT_MEMBER  INVALID
EMITS   room.read
]]
--- @include "lib/event_log"
--- @include "lib/messages"
--- @include "lib/room"
--- @include "lib/zone"
local meta, room_key, read, due, log = unpack(KEYS)
local epoch, user, n, entry, actor, trace = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if entry ~= '' then redis.call('ZREM', due, entry) end
local row = redis.call('HMGET', room_key, 'id', 'n', 'm:' .. user)
if not row[1] then return {'NOT_FOUND', '0'} end
if not row[3] then return {'NOT_MEMBER', '0'} end
if tonumber(n) > tonumber(row[2]) then return {'INVALID', '0'} end
local marks = redis.call('HMGET', read, user, 'told:' .. user)
local mark = tonumber(marks[1] or 0)
if entry == '' then
  if tonumber(n) <= mark then return {'OK', '1', zone.seq, 0, mark} end
  mark = tonumber(n)
  redis.call('HSET', read, user, n)
end
local told_at, told = string.match(marks[2] or '', '^(%d+) (%d+)$')
local next_at = tonumber(told_at or 0) + Messages.MARK_INTERVAL_MS
if zone.now < next_at then
  redis.call('ZADD', due, 'NX', next_at, 'read:' .. row[1] .. ':' .. user)
  return {'OK', '0', zone.seq, 0, mark}
end
if tonumber(told or 0) >= mark then return {'OK', '0', zone.seq, 0, mark} end
redis.call('HSET', read, 'told:' .. user, string.format('%.0f %.0f', zone.now, mark))
local event = Room.event(Room.load(room_key), 'room.read', row[3], nil, ',"n":' .. mark)
event.actor, event.trace = actor, trace
local seq = EventLog.append(zone, log, event)
EventLog.save_seq(zone)
return {'OK', '0', seq, 0, mark}
