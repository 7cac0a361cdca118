--[[ room_member_remove: ends the membership of a `user` whom ops had added. From this step on they cannot receive, read
or write messages. The two sides of the job cannot be removed (INVALID). The dispute of a removed mediator waits for
another one, and mediators are invited again.
KEYS    meta  room  log  req
ARGV    epoch  user  actor  key  fingerprint  trace
OK      seq  version  id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  INVALID
EMITS   room.left  session.room  mediator.invited
TOUCHES {z}:user:*:rooms  {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/dispute"
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/job"
--- @include "lib/mediation"
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
local job = room.mediator == user and Job.load(zone.tag .. 'job:' .. room.job)
if room.mediator == user then
  room.mediator = ''
  redis.call('HSET', zone.tag .. 'job:' .. room.job, 'mediator', '')
end
Room.save(room)
Idempotency.store(req, fingerprint, zone.seq + 1, 0, room.id, Idempotency.STEP_MS)
local events = {Room.event(room, 'room.left', text, 'user:' .. user .. ' ' .. room.to)}
if job then events[2] = Mediation.event(job, 'mediator.invited', room, Dispute.open_summary_json(job)) end
local seq = zone.seq + 1
for _, event in ipairs(events) do
  event.actor, event.cause, event.trace = actor, key .. ':' .. fingerprint, trace
  EventLog.append(zone, log, event)
end
EventLog.save_seq(zone)
return {'OK', '0', seq, 0, room.id}
