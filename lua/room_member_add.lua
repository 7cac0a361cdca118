--[[ room_member_add: makes a `user` whom ops add a member of a room. They may read all messages, also earlier ones.
Only they receive `room.opened`; the others are informed when the new member joins for the first time.
KEYS    meta  room  log  req
ARGV    epoch  user  name  role  actor  key  fingerprint  trace
OK      seq  version  id  room
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  ROOM_CLOSED
EMITS   room.opened  session.room
TOUCHES {z}:user:*:rooms  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/room"
--- @include "lib/room_view"
--- @include "lib/zone"
local meta, room_key, log, req = unpack(KEYS)
local epoch, user, name, role, actor, key, fingerprint, trace = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = Idempotency.at_head(zone, Idempotency.lookup(req, fingerprint))
local room = Room.load(room_key)
if not room then return again or {'NOT_FOUND', '0'} end
-- A repeat gets the room as it is now. The caller's right does not depend on the room.
if again and again[1] == 'OK' then again[6] = RoomView.json(room, '') end
if again then return again end
if room.members[user] then
  return Idempotency.answer_unchanged(zone, req, fingerprint, 0, room.id, RoomView.json(room, ''))
end
if room.state ~= 'open' then return Idempotency.refuse(req, fingerprint, 'ROOM_CLOSED') end
Room.add_member(zone, room, {id = user, name = name, role = role}, 0)
Room.save(room)
Idempotency.store(req, fingerprint, zone.seq + 1, 0, room.id, Idempotency.STEP_MS)
local event = Room.event(room, 'room.opened', room.members[user], 'user:' .. user)
event.actor, event.cause, event.trace = actor, key .. ':' .. fingerprint, trace
local seq = EventLog.append(zone, log, event)
EventLog.save_seq(zone)
return {'OK', '0', seq, 0, room.id, RoomView.json(room, '')}
