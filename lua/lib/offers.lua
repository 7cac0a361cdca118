-- An offer is `status wave opens_at expires_at distance_m` in the job's offers, and stands in its technician's pull
-- list by its deadline. A `sent` offer of a job that is no longer on offer is closed by that alone: rewriting ten
-- losers' offers and pull lists took a third of the claim. Whoever reads a pull list reads the job as well.
local Offers = {}

-- How many offers one turn of the sweep closes, and how long it waits before it reports those that end one after the
-- other. How many entries of a pull list are read at once.
Offers.MAX_EXPIRED, Offers.EXPIRE_EVERY_MS, Offers.PAGE = 256, 1000, 100

function Offers.parse(text)
  local status, wave, opens, expires, distance = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {status = status, wave = tonumber(wave), opens = tonumber(opens), expires = tonumber(expires),
    distance = tonumber(distance)}
end

function Offers.write(offers, technician, offer)
  redis.call('HSET', offers, technician,
    string.format('%s %.0f %.0f %.0f %.0f', offer.status, offer.wave, offer.opens, offer.expires, offer.distance))
end

-- The offer of one technician among `all` offers of a job, as HGETALL returns them.
function Offers.find(all, technician)
  for i = 1, #all, 2 do
    if all[i] == technician then return Offers.parse(all[i + 1]) end
  end
  return nil
end

-- The channels of the technicians with an open offer among `all`, except `keep`. An offer that opens later was not
-- announced.
function Offers.open_channels(zone, all, keep)
  local channels = {}
  for i = 1, #all, 2 do
    local opens = all[i] ~= keep and string.match(all[i + 1], '^sent %S+ (%S+)')
    if opens and tonumber(opens) <= zone.now then channels[#channels + 1] = 'user:' .. all[i] end
  end
  return channels
end
