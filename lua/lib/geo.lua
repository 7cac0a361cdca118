local Geo = {}

-- The earth's radius is the one that Redis uses, so that both compute the same distances. The other constant is a
-- distance that reaches every point of the earth.
Geo.EARTH_RADIUS_M, Geo.WHOLE_EARTH_M = 6372797.560856, 21000000

-- Returns the great-circle distance in metres (haversine formula).
function Geo.distance_m(lat1, lon1, lat2, lon2)
  local rad = math.pi / 180
  local half_lat = math.sin((lat2 - lat1) * rad / 2)
  local half_lon = math.sin((lon2 - lon1) * rad / 2)
  local square = half_lat * half_lat + math.cos(lat1 * rad) * math.cos(lat2 * rad) * half_lon * half_lon
  return 2 * Geo.EARTH_RADIUS_M * math.asin(math.sqrt(square))
end
