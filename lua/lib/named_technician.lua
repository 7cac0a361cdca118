-- The technician whom a booking names. They are asked immediately.
--- @include "lib/tech"
local NamedTechnician = {}

-- Returns why a technician who may work cannot be asked for this job by this customer, or nil.
function NamedTechnician.mismatch(zone, tech, service, customer)
  if not string.find(' ' .. tech.services .. ' ', ' ' .. service .. ' ', 1, true) then return 'service' end
  return redis.call('SISMEMBER', zone.tag .. 'user:' .. customer .. ':blocks', tech.id) == 1 and 'blocked' or nil
end

-- Returns why the technician would not be asked, as a reason of the record of a wave; nil if they would.
function NamedTechnician.exclusion(zone, tech, service, customer)
  local why = Tech.refusal(tech)
  return why and string.lower(why) or NamedTechnician.mismatch(zone, tech, service, customer)
end
