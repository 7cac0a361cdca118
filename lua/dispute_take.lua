--[[ dispute_take: makes `user` the mediator of an open dispute, and a member of the job's room who reads all messages.
The first mediator who asks gets the dispute; another one is refused. Ops (`replaces` 1) may take it from a mediator,
whose membership ends in this step. A repeat gets the dispute and the room as they are now.
KEYS    meta  job  causes  log  req
ARGV    epoch  dispute  user  role  name  replaces  key  fingerprint  trace  bp
OK      seq  version  job_id  dispute  room
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TAKEN
EMITS   mediator.taken  room.opened  room.left  session.room
TOUCHES {z}:room:*  {z}:user:*:rooms  (same slot, names known only inside)
]]
--- @include "lib/command"
--- @include "lib/dispute"
--- @include "lib/idempotency"
--- @include "lib/mediation"
--- @include "lib/room_view"
--- @include "lib/zone"
local meta, job_key, causes, log, req = unpack(KEYS)
local epoch, dispute, user, role, name, replaces, key, fingerprint, trace, bp = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local request = {bp = bp, actor = role .. ':' .. user, cause = key .. ':' .. fingerprint, trace = trace, req = req,
  fingerprint = fingerprint, causes = causes}
local job, again, unchanged = Command.begin(zone, job_key, request)
if again and again[1] ~= 'OK' then return again end
if not job then return again or Command.not_found(job, req, fingerprint) end
local mine = job.frozen == dispute and Dispute.mediator_id(job) or ''
local reply = again or (unchanged or mine == user)
  and Idempotency.answer_unchanged(zone, req, fingerprint, job.version, job.id)
local room = nil
if not reply then
  if job.frozen ~= dispute then return Idempotency.refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
  if mine ~= '' and replaces ~= '1' then return Idempotency.refuse(req, fingerprint, 'TAKEN') end
  local events = {}
  room = Mediation.take(zone, job, {id = user, role = role, name = name}, events)
  reply = Command.finish(zone, log, job, events, request)
else
  room = Mediation.open_room(zone, job)
end
reply[6] = Dispute.present_json(job)
reply[7] = room and room.members[user] and RoomView.json(room, user) or ''
return reply
