--- @include "lib/audience"
-- Telling that a technician is there, or gone: the technician, who may have been asleep when the lease ended, and those
-- whom the zone's default blueprint names (`words`). It concerns no job, so `holder` is the technician too.
local function tech_status(t, online, reason, words)
  local to, me = audience(words, {customer = '', holder = t.id}), 'user:' .. t.id
  if not string.find(' ' .. to .. ' ', ' ' .. me .. ' ', 1, true) then to = to .. ' ' .. me end
  return {type = 'technician.status', to = to, data = '{"technician":{"id":"' .. t.id .. '"},"online":' ..
    (online and 'true' or 'false') .. ',"reason":"' .. reason .. '"}'}
end
