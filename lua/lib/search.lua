--- @include "lib/candidates"
--- @include "lib/density"
--- @include "lib/limits"

-- Two ways to find candidates, both bounded to 256 a turn.
--
-- `by_radius`: the radius is fitted to the density. A full answer is arbitrary (COUNT ANY stops at the first it
-- finds), so the radius is halved, not below 50 m; an answer that is not full is complete, so its ranking is exact;
-- too few who fit means widen. Where distance alone ranks (`wave.nearest`), the answer comes sorted and is read only
-- until enough fit: ten records instead of 256. That order is the index's, which trails a fix by 100 m or 30 s. COUNT
-- without ANY would visit everybody in the area and stop the zone.
--
-- `by_rank`: along the index outward from the job, by rank, both ways. It serves "everybody else in the zone", and a
-- crowd so dense that 50 m is full of people already asked, where any search would return the same ones again. Ranks
-- may shift meanwhile; whoever is skipped by that is found in the next round.
local Search = {}

Search.MIN_RADIUS_M = 50

-- Returns true when the wave is decided, false when it must go on in another turn with wave.r.
function Search.by_radius(zone, job, offers, supply, wave)
  local low = 0
  wave.size = math.min(wave.size, wave.room)
  if wave.nearest and job.walk == '' and not wave.begun then
    -- Half as many again as are wanted, and those asked already: mostly they are the nearest.
    local want = math.min(1.5 * wave.size + redis.call('HLEN', offers), Limits.MAX_VISITS * 3 / 4)
    wave.begun, wave.r = true, Density.radius_for(zone, job, supply, want, wave.r)
  end
  for _ = 1, 3 do
    local ids = redis.call('GEOSEARCH', supply, 'FROMLONLAT', job.lon, job.lat, 'BYRADIUS', wave.r, 'm', 'COUNT',
      Limits.MAX_VISITS, 'ANY', 'ASC')
    local narrowest = wave.r / 2 < Search.MIN_RADIUS_M or wave.r / 2 <= low
    -- A full answer is read one by one only as the last resort.
    if #ids < Limits.MAX_VISITS or narrowest then Candidates.evaluate(zone, job, offers, ids, wave, wave.nearest) end
    if #ids < Limits.MAX_VISITS then
      if #wave.fit >= wave.size or wave.r >= wave.radius then return true end
      low, wave.r = wave.r, math.min(wave.radius, wave.r * 2)
    elseif narrowest then
      wave.dense = #wave.fit < wave.size
      return not wave.dense
    else
      wave.r = wave.r / 2
    end
  end
  wave.more = true
  return false
end

-- wave.up and wave.down are the next ranks to visit each way. No more are visited than the job may be offered to
-- (wave.room), so that nobody is skipped. Returns true when the wave is filled or the index is exhausted.
function Search.by_rank(zone, job, offers, supply, wave)
  if not wave.up then
    local here = redis.call('ZSCORE', zone.tag .. 'demand:' .. job.service, job.id)
    -- A job that the engine allocates is not in demand: it starts at somebody near.
    local near = here and {} or
      redis.call('GEOSEARCH', supply, 'FROMLONLAT', job.lon, job.lat, 'BYRADIUS', wave.r, 'm', 'COUNT', 1, 'ANY')
    if here then wave.up = redis.call('ZCOUNT', supply, '-inf', '(' .. here)
    else wave.up = near[1] and redis.call('ZRANK', supply, near[1]) or 0 end
    wave.down = wave.up - 1
  end
  local half = math.floor(math.min(Limits.MAX_VISITS, wave.room) / 2)
  local above = redis.call('ZRANGE', supply, wave.up, wave.up + half - 1)
  Candidates.evaluate(zone, job, offers, above, wave)
  wave.up = wave.up + #above
  if wave.down >= 0 then
    local first = math.max(0, wave.down - half + 1)
    Candidates.evaluate(zone, job, offers, redis.call('ZRANGE', supply, first, wave.down), wave)
    wave.down = first - 1
  end
  return #wave.fit >= wave.size or (#above < half and wave.down < 0)
end
