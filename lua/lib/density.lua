-- The density of technicians around a job, by counting entries without reading them. The index is a sorted set whose
-- scores interleave 26 bits of latitude with 26 bits of longitude: the 4^k scores that begin at a multiple of 4^k are
-- one cell, 2^k units high and wide. UNIT_LON and UNIT_LAT are the lengths of a unit of longitude and of latitude on
-- the equator, in metres.
--- @include "lib/geo"
local Density = {}

Density.UNIT_LON = 2 * 3.141592653589793 * Geo.EARTH_RADIUS_M / 2 ^ 26
Density.UNIT_LAT = Density.UNIT_LON * 2 * 85.05112878 / 360
Density.MAX_LEVELS = 8

-- Returns the geohash score of a place (degrees) in a Redis geo index.
function Density.score_of(lat, lon)
  local high, wide = (lat / 85.05112878 + 1) / 2 * 2 ^ 26, (lon / 180 + 1) / 2 * 2 ^ 26
  local y, x, score = math.min(math.floor(high), 2 ^ 26 - 1), math.min(math.floor(wide), 2 ^ 26 - 1), 0
  for level = 0, 25 do
    score = score + (y % 2 + x % 2 * 2) * 4 ^ level
    y, x = math.floor(y / 2), math.floor(x / 2)
  end
  return score
end

function Density.count_cell(supply, score, size)
  local first = score - score % size
  return redis.call('ZCOUNT', supply, first, first + size - 1)
end

-- Returns the first radius of a search in metres, at most `widest`: `want` technicians are expected within it. The
-- estimate comes from a cell around the job that contains between half of `want` and twice as many, or from the one
-- nearest to that, at most MAX_LEVELS below the cell of the area of `widest`. If the estimate is wrong, the search
-- halves or widens the radius. A job in neither index of jobs has no score: then the radius is `widest`. A preview
-- passes the score that its job would have.
function Density.radius_for(zone, job, supply, want, widest)
  local index = zone.tag .. (job.mode == 'allocate' and 'open:' or 'demand:') .. job.service
  local score = job.score or tonumber(redis.call('ZSCORE', index, job.id) or nil)
  if not score then return widest end
  local unit, few = Density.UNIT_LAT * Density.UNIT_LON * math.cos(job.lat * math.pi / 180), want / 2
  local level = math.floor(math.log(math.pi * widest * widest / unit) / math.log(4))
  local count, below = Density.count_cell(supply, score, 4 ^ level), math.max(-1, level - Density.MAX_LEVELS)
  if count < few then return widest end
  -- The cell at `level` has at least `few` entries, the cell at `below` has fewer. Where people are spread evenly, each
  -- level has a quarter of the one above, so the next cell to count is guessed.
  while level - below > 1 and count >= 4 * few do
    local guess = level - math.floor(math.log(count / few) / math.log(4))
    guess = math.max(below + 1, math.min(level - 1, guess))
    local found = Density.count_cell(supply, score, 4 ^ guess)
    if found < few then below = guess else level, count = guess, found end
  end
  return math.min(math.sqrt(want / count * 4 ^ level * unit / math.pi), widest)
end
