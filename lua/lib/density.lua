--- @include "lib/geo"

-- The density of technicians around a job, by counting entries without reading them. The index is a sorted set whose
-- scores interleave 26 bits of latitude with 26 bits of longitude: the 4^k scores that begin at a multiple of 4^k are
-- one cell, 2^k units high and wide. UNIT_LON and UNIT_LAT are the lengths of a unit of longitude and of latitude on
-- the equator, in metres.
local Density = {}

Density.UNIT_LON = 2 * 3.141592653589793 * Geo.EARTH_RADIUS_M / 2 ^ 26
Density.UNIT_LAT = Density.UNIT_LON * 2 * 85.05112878 / 360

-- Returns the first radius of a search in metres, at most `widest`: `want` technicians are expected within it. The
-- estimate comes from the smallest cell around the job that contains at least half of `want`. If the estimate is wrong,
-- the search halves or widens the radius. A job that is not in the demand index has no score: then the radius is
-- `widest`.
function Density.radius_for(zone, job, supply, want, widest)
  local here = tonumber(redis.call('ZSCORE', zone.tag .. 'demand:' .. job.service, job.id) or nil)
  if not here then return widest end
  local unit, radius = Density.UNIT_LAT * Density.UNIT_LON * math.cos(job.lat * math.pi / 180), widest
  local cell = 4 ^ math.floor(math.log(math.pi * radius * radius / unit) / math.log(4))
  for _ = 1, 8 do
    local first = here - here % cell
    local count = redis.call('ZCOUNT', supply, string.format('%.0f', first), string.format('(%.0f', first + cell))
    if count < want / 2 then break end
    radius, cell = math.sqrt(want / count * cell * unit / math.pi), cell / 4
  end
  return math.min(radius, widest)
end
