--- @include "lib/density"
-- Two ways to find candidates, both bounded to 256 a look.
--
-- `search`: the radius is fitted to the density. A full answer is arbitrary (COUNT ANY stops at the first it
-- finds), so the radius is halved, not below 50 m; an answer that is not full is complete, so its ranking is
-- exact; too few fit means widen. Where distance alone ranks (`w.nearest`), the answer comes sorted and is read only
-- until enough fit: ten records instead of 256. That order is the index's, which trails a fix by 100 m or 30 s.
-- COUNT without ANY would visit everybody in the area and stop the zone.
--
-- `walk`: along the index outward from the job, by rank, both ways. For "everybody else in the zone", and for a
-- crowd so dense that 50 m is full of people already asked, where any search would return the same ones again.
-- Ranks may shift under it; whoever is passed over by that is met in the next round.
local FULL, NARROW = 256, 50

-- Returns true when w is decided, false when it must go on in another turn with w.r.
local function search(z, j, offers, supply, w)
  local low = 0
  w.size = math.min(w.size, w.room)
  if w.nearest and j.walk == '' and not w.begun then
    -- Half as many again as are wanted, and those asked already: they are the nearest, mostly.
    local want = math.min(1.5 * w.size + redis.call('HLEN', offers), FULL * 3 / 4)
    w.begun, w.r = true, radius_for(z, j, supply, want, w.r)
  end
  for _ = 1, 3 do
    local ids = redis.call('GEOSEARCH', supply, 'FROMLONLAT', j.lon, j.lat, 'BYRADIUS', w.r, 'm', 'COUNT', FULL,
      'ANY', 'ASC')
    local narrowest = w.r / 2 < NARROW or w.r / 2 <= low
    -- Of a full answer only the last resort is worth looking at one by one.
    if #ids < FULL or narrowest then consider(z, j, offers, ids, w, w.nearest) end
    if #ids < FULL then
      if #w.fit >= w.size or w.r >= w.radius then return true end
      low, w.r = w.r, math.min(w.radius, w.r * 2)
    elseif narrowest then
      w.dense = #w.fit < w.size
      return not w.dense
    else
      w.r = w.r / 2
    end
  end
  w.more = true
  return false
end

-- w.up and w.down are the next ranks to visit each way; no more are visited than the job may be offered to (w.room), so
-- that nobody is passed over. Returns true when the wave is filled or the index is done.
local function walk(z, j, offers, supply, w)
  if not w.up then
    local here = redis.call('ZSCORE', z.tag .. 'demand:' .. j.service, j.id)
    -- Who is not in demand, since the engine chooses, begins at somebody near.
    local near = here and {} or
      redis.call('GEOSEARCH', supply, 'FROMLONLAT', j.lon, j.lat, 'BYRADIUS', w.r, 'm', 'COUNT', 1, 'ANY')
    if here then w.up = redis.call('ZCOUNT', supply, '-inf', '(' .. here)
    else w.up = near[1] and redis.call('ZRANK', supply, near[1]) or 0 end
    w.down = w.up - 1
  end
  local half = math.floor(math.min(FULL, w.room) / 2)
  local above = redis.call('ZRANGE', supply, w.up, w.up + half - 1)
  consider(z, j, offers, above, w)
  w.up = w.up + #above
  if w.down >= 0 then
    local first = math.max(0, w.down - half + 1)
    consider(z, j, offers, redis.call('ZRANGE', supply, first, w.down), w)
    w.down = first - 1
  end
  return #w.fit >= w.size or (#above < half and w.down < 0)
end
