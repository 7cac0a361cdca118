--[[ room_member_remove: ends the membership of `user`, whom ops had brought in. From this step on they receive, read and
say nothing. The two sides of the job stay members (INVALID). The dispute of a removed mediator waits for another one.
KEYS    meta  room  log  req
ARGV    epoch  user  actor  key  fingerprint  trace
OK      seq  version  id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  INVALID
EMITS   room.left  session.room
TOUCHES {z}:user:*:rooms  {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/room"
--- @include "lib/zone"
local meta, room_key, log, req = unpack(KEYS)
local epoch, user, actor, key, fingerprint, trace = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = Idempotency.lookup(req, fingerprint)
if again then return again end
local room = Room.load(room_key)
if not room or not room.members[user] then return Idempotency.refuse(req, fingerprint, 'NOT_FOUND') end
if string.find(room.members[user], '","role":"customer","since":"', 1, true) or user == room.technician then
  return Idempotency.refuse(req, fingerprint, 'INVALID')
end
local text = Room.remove_member(zone, room, user)
if room.mediator == user then
  room.mediator = ''
  redis.call('HSET', zone.tag .. 'job:' .. room.job, 'mediator', '')
end
Room.save(room)
Idempotency.store(req, fingerprint, zone.seq + 1, 0, room.id, Idempotency.STEP_MS)
local event = Room.event(room, 'room.left', text, 'user:' .. user .. ' ' .. room.to)
event.actor, event.cause, event.trace = actor, key .. ':' .. fingerprint, trace
local seq = EventLog.append(zone, log, event)
EventLog.save_seq(zone)
return {'OK', '0', seq, 0, room.id}
