-- Two ways to find candidates, both bounded to Limits.MAX_VISITS (256) a turn.
--
-- `by_radius` fits the radius to the density. A full result is arbitrary (COUNT ANY stops at the first entries that it
-- finds), so the radius is halved, but not below MIN_RADIUS_M. A result that is not full is complete, so its ranking is
-- exact. If too few fit, the radius is widened. If distance alone ranks (`wave.nearest`), the result is sorted and is
-- read only until enough fit: ten records instead of 256. This is the order of the index, which is updated some time
-- after a fix (lib/supply). COUNT without ANY would visit everybody in the area and block the zone.
--
-- `by_rank` follows the index outward from the job, by rank, in both directions. It is for waves that ask everybody
-- else in the zone, and for a crowd so dense that MIN_RADIUS_M is full of technicians already asked, where any search
-- by radius would return the same ones again. Ranks may shift between turns; the next wave finds technicians who were
-- skipped because of that.
--- @include "lib/candidates"
--- @include "lib/density"
--- @include "lib/limits"
local Search = {}

Search.MIN_RADIUS_M = 50

function Search.first_radius(zone, job, supply, wave)
  if wave.nearest then
    -- One and a half times the wanted number, plus the technicians asked already, because these are mostly the nearest.
    local want = math.min(1.5 * wave.size + wave.asked, Limits.MAX_VISITS * 3 / 4)
    return Density.radius_for(zone, job, supply, want, wave.reach)
  end
  -- A radius whose result would be full is skipped.
  local full, radius = Density.radius_for(zone, job, supply, Limits.MAX_VISITS, wave.reach), wave.reach
  while radius > full and radius / 2 >= Search.MIN_RADIUS_M do radius = radius / 2 end
  return radius
end

-- Returns true when the candidates of the wave are final, and false when the search continues in another turn from
-- wave.reach (the radius of the search in metres).
function Search.by_radius(zone, job, offers, supply, wave)
  local low = 0
  wave.size = math.min(wave.size, wave.room)
  if job.walk == '' and not wave.begun then
    wave.begun, wave.reach = true, Search.first_radius(zone, job, supply, wave)
  end
  for _ = 1, 3 do
    local ids = redis.call('GEOSEARCH', supply, 'FROMLONLAT', job.lon, job.lat, 'BYRADIUS', wave.reach, 'm', 'COUNT',
      Limits.MAX_VISITS, 'ANY', 'ASC')
    local narrowest = wave.reach / 2 < Search.MIN_RADIUS_M or wave.reach / 2 <= low
    -- A full result is read only as the last resort.
    if #ids < Limits.MAX_VISITS or narrowest then Candidates.evaluate(zone, job, offers, ids, wave, wave.nearest) end
    if #ids < Limits.MAX_VISITS then
      if #wave.fit >= wave.size or wave.reach >= wave.radius then return true end
      low, wave.reach = wave.reach, math.min(wave.radius, wave.reach * 2)
    elseif narrowest then
      wave.dense = #wave.fit < wave.size
      return not wave.dense
    else
      wave.reach = wave.reach / 2
    end
  end
  wave.more = true
  return false
end

-- wave.up and wave.down are the next ranks to visit in each direction. At most wave.room technicians are visited (the
-- number of offers that the job may still have), so that nobody is skipped. Returns true when the wave is filled or the
-- index is exhausted.
function Search.by_rank(zone, job, offers, supply, wave)
  if not wave.up then
    local index = zone.tag .. (job.mode == 'allocate' and 'open:' or 'demand:') .. job.service
    local here = job.score or redis.call('ZSCORE', index, job.id)
    -- A job that the engine allocates without a window is in no index: the search starts at some technician nearby.
    local near = here and {} or
      redis.call('GEOSEARCH', supply, 'FROMLONLAT', job.lon, job.lat, 'BYRADIUS', wave.reach, 'm', 'COUNT', 1, 'ANY')
    if here then wave.up = redis.call('ZCOUNT', supply, '-inf', string.format('(%.0f', here))
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
