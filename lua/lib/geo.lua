-- The distances between positions on the earth.
local Geo = {}

-- The earth's radius is the one that Redis uses, so that both compute the same distances. The other constant is a
-- distance that reaches every point of the earth.
Geo.EARTH_RADIUS_M, Geo.WHOLE_EARTH_M = 6372797.560856, 21000000

-- Returns the function that computes the great-circle distance in metres (haversine formula) of another point from
-- this one.
function Geo.distances_from(lat1, lon1)
  local sin, cos, asin, sqrt, rad, twice = math.sin, math.cos, math.asin, math.sqrt, math.pi / 180,
    2 * Geo.EARTH_RADIUS_M
  lat1, lon1 = tonumber(lat1), tonumber(lon1)
  local cos1 = cos(lat1 * rad)
  return function(lat2, lon2)
    lat2 = lat2 + 0 -- a text is converted only once
    local half_lat, half_lon = sin((lat2 - lat1) * rad / 2), sin((lon2 - lon1) * rad / 2)
    local square = half_lat * half_lat + cos1 * cos(lat2 * rad) * half_lon * half_lon
    return twice * asin(sqrt(square < 1 and square or 1))
  end
end

function Geo.distance_m(lat1, lon1, lat2, lon2) return Geo.distances_from(lat1, lon1)(lat2, lon2) end
