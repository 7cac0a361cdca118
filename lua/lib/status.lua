-- Telling ops that a technician is there, or gone.
local function tech_status(t, online, reason)
  return {type = 'technician.status', to = 'role:ops', data = '{"technician":{"id":"' .. t.id .. '"},"online":' ..
    (online and 'true' or 'false') .. ',"reason":"' .. reason .. '"}'}
end
