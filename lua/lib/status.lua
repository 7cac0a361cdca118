--- @include "lib/audience"
-- Telling that a technician is there, or gone: the technician, who may have been asleep when the lease ended, and the
-- roles that the zone's default blueprint names.
local function tech_status(t, online, reason, words)
  return {type = 'technician.status', to = roles(words) .. ' user:' .. t.id, data = '{"technician":{"id":"' .. t.id .. '"},"online":' ..
    (online and 'true' or 'false') .. ',"reason":"' .. reason .. '"}'}
end
