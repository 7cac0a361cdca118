-- What a booking or a step of a job does to its room. `plan.room` is the blueprint's `[room]`, compiled: `opens`,
-- `customer` and `holder` (whether they are members), and `closes_ms`. Blueprints without a room have no `plan.room`.
--- @include "lib/room"
--- @include "lib/room_opening"
local RoomStep = {}

-- Returns whether the job gets its room by now: from the booking on, or from the acceptance by its technician on.
function RoomStep.is_due(job, rule)
  return rule and job.room == '' and job.phase ~= 'done' and job.phase ~= 'closed'
    and (rule.opens == 'booking' or job.holder ~= '' and job.unaccepted ~= '1')
end

-- Gives the job the id of its room if the room is due, so that the JSON of the job contains the id. Until the room is
-- open, the job has `room_is_due`.
function RoomStep.assign_id(job, rule)
  if RoomStep.is_due(job, rule) then job.room, job.room_is_due = Room.id_of(job.id), true end
end

-- Returns who is the technician of the room after the step: the holder who has accepted; while a named technician is
-- asked, that technician. A technician stays in the room of a job that ends, unless the step took the job from them.
function RoomStep.technician(job, plan, present, former)
  if not plan.room.holder then return '' end
  if job.holder ~= '' and (job.unaccepted ~= '1' or job.holder == present) then return job.holder end
  if present == former then return '' end
  local asked = job.holder == '' and job.mode == 'direct' and plan.effect ~= 'refuse'
  return (asked or job.phase == 'closed') and present or ''
end

function RoomStep.close(zone, room)
  room.state, room.closed = 'closed', zone.now
  Room.save(room)
  redis.call('ZADD', zone.tag .. 'due', zone.now, 'room:' .. room.id)
  return Room.event(room, 'room.closed')
end

-- Changes the technician of an open room. The one who left and the members receive `room.left`; for the new one the
-- room opens, and they read what is said from now on.
function RoomStep.change_technician(zone, job, room, technician, events)
  local former = room.technician
  room.technician = technician
  if former ~= '' then
    local text = Room.remove_member(zone, room, former)
    Room.save(room)
    events[#events + 1] = Room.event(room, 'room.left', text, 'user:' .. former .. ' ' .. room.to)
  end
  if technician ~= '' then
    Room.add_member(zone, room, RoomOpening.holder(job), room.n)
    Room.save(room)
    events[#events + 1] = Room.event(room, 'room.opened', room.members[technician], 'user:' .. technician)
  end
end

-- Opens, changes or closes the room after a step of the job, and adds the events. `former` is the holder from whom the
-- step took the job. A job in phase done closes its room later (room_close); until then a dispute may be open.
function RoomStep.follow(zone, job, plan, former, events)
  local rule = plan.room
  RoomStep.assign_id(job, rule)
  if not rule or job.room == '' then return end
  local key = zone.tag .. 'room:' .. job.room
  local row = job.room_is_due and {} or redis.call('HMGET', key, 'state', 'technician', 'ended')
  local state, present, ended = unpack(row)
  -- Without a record the room is new, or the job ended long ago and was restored for a payment.
  if not state and job.phase ~= 'done' and job.phase ~= 'closed' then
    local accepted = job.holder ~= '' and job.unaccepted ~= '1'
    events[#events + 1] = RoomOpening.open(zone, job, rule, accepted and RoomOpening.holder(job) or nil)
  end
  if state ~= 'open' then return end
  local technician = RoomStep.technician(job, plan, present, former)
  if technician ~= present or job.phase == 'closed' then
    local room = Room.load(key)
    if technician ~= present then RoomStep.change_technician(zone, job, room, technician, events) end
    if job.phase == 'closed' then events[#events + 1] = RoomStep.close(zone, room) end
  end
  -- A job that is resumed ends once more later.
  if job.phase ~= 'done' then if ended then redis.call('HDEL', key, 'ended') end
  elseif not ended then redis.call('HSET', key, 'ended', zone.now) end
  if job.phase == 'done' and job.frozen == '' then
    redis.call('ZADD', zone.tag .. 'due', (ended or zone.now) + rule.closes_ms, 'room:' .. job.room)
  end
end
