-- Advances the search for a technician when the last open offer is gone.
local WaveAdvance = {}

-- Advances the search when the last open offer is gone: offers that were delayed by a head start open now. If there are
-- no such offers, the next wave begins now.
function WaveAdvance.advance(zone, job, offers)
  local due, first, entry = zone.tag .. 'due', nil, 'wave:' .. job.id .. ':' .. job.wave + 1
  for _, text in ipairs(redis.call('HVALS', offers)) do
    if string.sub(text, 1, 5) == 'sent ' then
      local wave, opens = string.match(text, '^sent (%S+) (%S+)')
      local at = tonumber(opens)
      if at <= zone.now then return end
      if not first or at < first then first, entry = at, 'opens:' .. job.id .. ':' .. wave .. ':' .. opens end
    end
  end
  redis.call('ZADD', due, 'XX', zone.now, entry)
end
