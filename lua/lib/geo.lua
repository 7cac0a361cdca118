local Geo = {}

-- The earth's radius as Redis uses it, so that both agree, and a distance that reaches every point of the earth.
Geo.EARTH_RADIUS_M, Geo.WHOLE_EARTH_M = 6372797.560856, 21000000

-- The great-circle distance in metres (haversine formula).
function Geo.distance_m(lat1, lon1, lat2, lon2)
  local rad = math.pi / 180
  local u = math.sin((lat2 - lat1) * rad / 2)
  local v = math.sin((lon2 - lon1) * rad / 2)
  local a = u * u + math.cos(lat1 * rad) * math.cos(lat2 * rad) * v * v
  return 2 * Geo.EARTH_RADIUS_M * math.asin(math.sqrt(a))
end
