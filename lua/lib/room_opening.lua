-- Opens the room of a job, in the step of its booking or of its acceptance.
--- @include "lib/room"
local RoomOpening = {}

function RoomOpening.customer(job)
  local _, before_name = string.find(job.full, '"customer":{"id":"' .. job.customer .. '","name":', 1, true)
  local name_end = before_name and string.find(job.full, '},"service":', before_name, true)
  return {id = job.customer, name = name_end and string.sub(job.full, before_name + 1, name_end - 1) or '""',
    role = 'customer'}
end

function RoomOpening.holder(job)
  local name = string.match(job.card, '^{"id":"[^"]*","name":(.-),"rating":')
  return {id = job.holder, name = name or '""', role = 'technician'}
end

-- Opens the room of `job.room` and returns its event. `technician` is the user who does the job, or nil. The caller saves
-- the job afterwards.
function RoomOpening.open(zone, job, rule, technician)
  local room = {key = zone.tag .. 'room:' .. job.room, id = job.room, job = job.id, bp = job.bp, state = 'open', n = 0,
    opened = zone.now, technician = '', mediator = '', invited = '', count = 0, members = {}, unsaved = {}}
  if rule.customer then Room.add_member(zone, room, RoomOpening.customer(job), 0) end
  if rule.holder and technician then
    room.technician = technician.id
    Room.add_member(zone, room, technician, 0)
  end
  Room.save(room)
  job.room_is_due = nil
  return Room.event(room, 'room.opened'), room
end
