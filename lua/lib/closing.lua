--- @include "lib/closed"
-- Closing single offers of a job that goes on.
local function offer_write(offers, technician, o)
  redis.call('HSET', offers, technician,
    string.format('%s %.0f %.0f %.0f %.0f', o.status, o.wave, o.opens, o.expires, o.distance))
end

-- The last open offer is gone: do not wait for the next wave's time.
local function wave_hasten(z, j, offers)
  for _, text in ipairs(redis.call('HVALS', offers)) do
    if string.sub(text, 1, 5) == 'sent ' then return end
  end
  redis.call('ZADD', z.tag .. 'due', 'XX', z.now, 'wave:' .. j.id .. ':' .. j.wave + 1)
end
