--- @include "lib/audience"
-- Telling that a technician is there, or gone: those whom the zone's default blueprint names (`words`). It concerns no
-- job, so `holder` is the technician himself.
local function tech_status(t, online, reason, words)
  return {type = 'technician.status', to = audience(words, {customer = '', holder = t.id}), data = '{"technician":{"id":"' .. t.id .. '"},"online":' ..
    (online and 'true' or 'false') .. ',"reason":"' .. reason .. '"}'}
end
