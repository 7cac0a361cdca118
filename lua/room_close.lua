--[[ room_close: closes a room whose time is over (`closes_s` of its blueprint after the end of the job), and forgets a
closed one. Its scheduled task is `room:<id>`. While a dispute is open the room stays open: the step that resolves the
dispute schedules the task again. A closed room leaves the lists of its members when its closing is archived and older
than the window of the log; its keys then expire.
KEYS    meta  room  job  due  log
ARGV    epoch  entry  window_ms
OK      seq  version
ERR     STALE_EPOCH
EMITS   room.closed  session.room
TOUCHES {z}:user:*:rooms  {z}:room:*  {z}:large_rooms  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/room"
--- @include "lib/room_step"
--- @include "lib/zone"
local meta, room_key, job_key, due, log = unpack(KEYS)
local epoch, entry, window_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local room, job = Room.load(room_key), redis.call('HMGET', job_key, 'phase', 'frozen')
local waits = room and room.state == 'open' and (job[1] and job[1] ~= 'done' or job[2] and job[2] ~= '')
if not room or waits then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
if room.state == 'open' then
  local event = RoomStep.close(zone, room)
  local seq = EventLog.append(zone, log, event)
  redis.call('HSET', room_key, 'closing', seq)
  redis.call('ZADD', due, zone.now + window_ms, entry)
  EventLog.save_seq(zone)
  return {'OK', '0', seq, 0}
end
-- The step that closed the room did not know the seq of its own event. The present seq is not lower, so it is stored.
if not room.closing then redis.call('HSET', room_key, 'closing', zone.seq) end
local ready_at = room.closed + window_ms
local archived = tonumber(redis.call('HGET', meta, 'archived')) or 0
if not room.closing or zone.now < ready_at or archived < tonumber(room.closing) then
  redis.call('ZADD', due, math.max(ready_at, zone.now + Room.RETRY_MS), entry)
  return {'OK', '0', 0, 0}
end
redis.call('ZREM', due, entry)
redis.call('SREM', zone.tag .. 'large_rooms', room.id)
for user in pairs(room.members) do redis.call('ZREM', zone.tag .. 'user:' .. user .. ':rooms', room.id) end
for _, part in ipairs({'', ':messages', ':read', ':sent'}) do
  redis.call('PEXPIRE', room_key .. part, Room.ARCHIVED_MS)
end
return {'OK', '0', 0, 0}
