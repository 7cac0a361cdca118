--- @include "lib/geo"

-- How dense it is around a job, by counting entries and reading none. The index is a sorted set whose scores
-- interleave 26 bits of latitude with 26 of longitude: the entries within 4^k scores from a multiple of it are one
-- cell, 2^k units high and wide. UNIT_LON is the length of a unit of longitude on the equator, in metres; the earth's
-- radius is as in lib/geo.
local Density = {}

Density.UNIT_LON = 2 * 3.141592653589793 * Geo.EARTH_RADIUS_M / 2 ^ 26
Density.UNIT_LAT = Density.UNIT_LON * 2 * 85.05112878 / 360

-- The first radius of a search, at most `widest`: one within which `want` technicians are expected, by the smallest
-- cell around the job that holds enough to tell. Where the cell misleads, the search halves and widens from there. A
-- job that is not in demand has no place in the set: then it is `widest`.
function Density.radius_for(zone, job, supply, want, widest)
  local here = tonumber(redis.call('ZSCORE', zone.tag .. 'demand:' .. job.service, job.id) or nil)
  if not here then return widest end
  local unit, r = Density.UNIT_LAT * Density.UNIT_LON * math.cos(job.lat * math.pi / 180), widest
  local cell = 4 ^ math.floor(math.log(math.pi * r * r / unit) / math.log(4))
  for _ = 1, 8 do
    local first = here - here % cell
    local n = redis.call('ZCOUNT', supply, string.format('%.0f', first), string.format('(%.0f', first + cell))
    if n < want / 2 then break end
    r, cell = math.sqrt(want / n * cell * unit / math.pi), cell / 4
  end
  return math.min(r, widest)
end
