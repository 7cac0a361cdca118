--- @include "lib/audience"
local TechnicianStatus = {}

-- The event that a technician is online or offline. It goes to the technician, whose app may have been asleep when the
-- lease ended, and to the roles that the zone's default blueprint names.
function TechnicianStatus.event(tech, online, reason, words)
  return {type = 'technician.status', to = Audience.role_channels(words) .. ' user:' .. tech.id,
    data = '{"technician":{"id":"' .. tech.id .. '"},"online":' .. (online and 'true' or 'false') ..
      ',"reason":"' .. reason .. '"}'}
end
