--- @include "lib/closed"
-- Closing single offers of a job that goes on.
local function offer_write(offers, technician, o)
  redis.call('HSET', offers, technician,
    string.format('%s %.0f %.0f %.0f %.0f', o.status, o.wave, o.opens, o.expires, o.distance))
end

-- The last open offer is gone: wait neither for the time of those who come after a head start, nor, where there are
-- none, for that of the next wave.
local function wave_hasten(z, j, offers)
  local due, first, entry = z.tag .. 'due', nil, 'wave:' .. j.id .. ':' .. j.wave + 1
  for _, text in ipairs(redis.call('HVALS', offers)) do
    if string.sub(text, 1, 5) == 'sent ' then
      local wave, opens = string.match(text, '^sent (%S+) (%S+)')
      local at = tonumber(opens)
      if at <= z.now then return end
      if not first or at < first then first, entry = at, 'opens:' .. j.id .. ':' .. wave .. ':' .. opens end
    end
  end
  redis.call('ZADD', due, 'XX', z.now, entry)
end
