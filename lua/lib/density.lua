-- How dense it is around a job, by counting and visiting nobody. The index is a sorted set whose scores interleave 26
-- bits of latitude with 26 of longitude: those within 4^k scores from a multiple of it on are one cell, 2^k units
-- high and wide. A unit of longitude is so long on the equator; metres, radius as in lib/geo.
local UNIT_LON = 2 * 3.141592653589793 * 6372797.560856 / 2 ^ 26
local UNIT_LAT = UNIT_LON * 2 * 85.05112878 / 360

-- The radius to begin with, at most `widest`: one within which `want` are expected, by the smallest cell around the
-- job that holds enough to tell. Where the cell misleads, the search halves and widens from there. A job that is not
-- in demand has no place in such a set: then it is `widest`.
local function radius_for(z, j, supply, want, widest)
  local here = tonumber(redis.call('ZSCORE', z.tag .. 'demand:' .. j.service, j.id) or nil)
  if not here then return widest end
  local unit, r = UNIT_LAT * UNIT_LON * math.cos(j.lat * math.pi / 180), widest
  local cell = 4 ^ math.floor(math.log(math.pi * r * r / unit) / math.log(4))
  for _ = 1, 8 do
    local first = here - here % cell
    local n = redis.call('ZCOUNT', supply, string.format('%.0f', first), string.format('(%.0f', first + cell))
    if n < want / 2 then break end
    r, cell = math.sqrt(want / n * cell * unit / math.pi), cell / 4
  end
  return math.min(r, widest)
end
