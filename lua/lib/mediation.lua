-- The mediator of an open dispute: the actor who took it (field `mediator` of the job), and their place in the job's
-- room, where `mediator` is their id and `invited` is 1 as long as the dispute is open. `user` has `id`, `role`, and
-- `name` as JSON.
--- @include "lib/dispute"
--- @include "lib/job_fields"
--- @include "lib/room"
--- @include "lib/room_step"
local Mediation = {}

-- Returns the room of the job, if it is open.
function Mediation.open_room(zone, job)
  local room = job.room ~= '' and Room.load(zone.tag .. 'room:' .. job.room) or nil
  return room and room.state == 'open' and room or nil
end

-- Returns an event for all mediators, ops, and the members of the room, or without a room the two sides of the job.
function Mediation.event(job, kind, room, dispute, user)
  local to = room and room.to or 'user:' .. job.customer .. (job.holder ~= '' and ' user:' .. job.holder or '')
  return {type = kind, to = 'role:mediator role:ops ' .. to, bp = job.bp, data = '{"dispute":' .. dispute ..
    (room and ',"room":{"id":"' .. room.id .. '"}' or '') .. (user and ',"user":' .. user or '') .. '}'}
end

-- Invites mediators to the room of a job whose dispute opens in this step.
function Mediation.invite(zone, job, events)
  local room = Mediation.open_room(zone, job)
  if not room then return end
  room.invited, room.mediator = '1', ''
  Room.save(room)
  events[#events + 1] = Mediation.event(job, 'mediator.invited', room, job.dispute)
end

-- Ends the mediator's membership. They receive the event too, as the last one of the room.
function Mediation.leave(zone, room, user, events)
  local text = Room.remove_member(zone, room, user)
  room.mediator = ''
  Room.save(room)
  if text then events[#events + 1] = Room.event(room, 'room.left', text, 'user:' .. user .. ' ' .. room.to) end
end

-- Makes `user` the mediator of the open dispute and a member who reads all messages, in place of the mediator before
-- them. Returns the room, or nil.
function Mediation.take(zone, job, user, events)
  local room, former = Mediation.open_room(zone, job), Dispute.mediator_id(job)
  JobFields.set(job.key, 'mediator', user.role .. ':' .. user.id)
  if room then
    if former ~= '' then Mediation.leave(zone, room, former, events) end
    local is_new = not room.members[user.id]
    room.mediator = user.id
    if is_new then Room.add_member(zone, room, user, 0) end
    Room.save(room)
    if is_new then
      events[#events + 1] = Room.event(room, 'room.opened', room.members[user.id], 'user:' .. user.id)
    end
  end
  events[#events + 1] = Mediation.event(job, 'mediator.taken', room, Dispute.open_summary_json(job),
    '{"id":"' .. user.id .. '","name":' .. user.name .. ',"role":"' .. user.role .. '"}')
  return room
end

-- Ends the mediation when `user` resolves the dispute. If nobody has taken the dispute, `user` is a member only within
-- this step.
function Mediation.finish(zone, job, user, events)
  local room = Mediation.open_room(zone, job)
  if not room then return end
  room.invited = ''
  if not room.members[user.id] then Room.add_member(zone, room, user, 0) end
  Mediation.leave(zone, room, user.id, events)
end

-- Changes the room of a job and the mediation in it after a step of the job: the mediator leaves before the room
-- closes.
function Mediation.follow(zone, job, plan, args, former, events)
  if plan.effect == 'thaw' then Mediation.finish(zone, job, args.mediator, events) end
  RoomStep.follow(zone, job, plan, former, events)
  if plan.effect == 'freeze' then Mediation.invite(zone, job, events) end
end
