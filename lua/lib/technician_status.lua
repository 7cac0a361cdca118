-- The event that a technician is online or offline. Its recipients are the technician, whose app may have been asleep
-- when the lease ended, and the roles that the zone's default blueprint names.
--- @include "lib/audience"
local TechnicianStatus = {}

function TechnicianStatus.event(tech, online, reason, words)
  return {type = 'technician.status', to = Audience.parse(words).roles .. ' user:' .. tech.id,
    data = '{"technician":{"id":"' .. tech.id .. '"},"online":' .. (online and 'true' or 'false') ..
      ',"reason":"' .. reason .. '"}'}
end
