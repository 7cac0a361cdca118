-- The time that must lie between two visits of a technician's schedule (lib/schedule): travel and buffer.
--   A rule is a text: `buffer_ms exclusive exponent high`, then the seconds per km of each hour (UTC) from 0. The
-- travel time is that of engine/rules/travel.py, times `high` (P80). engine/domain/schedules.py packs it.
--- @include "lib/geo"
--- @include "lib/memo"
local TravelRule = {}

-- A degree of latitude is a little less than DEGREE_M.
TravelRule.HOUR_MS, TravelRule.DEGREE_M = 3600000, 111300

TravelRule.parse = Memo.of(function(text)
  local buffer_ms, exclusive, exponent, high, hours = string.match(text, '^(%d+) ([01]) (%S+) (%S+) (.+)$')
  local rule = {buffer_ms = tonumber(buffer_ms), exclusive = exclusive == '1', exponent = tonumber(exponent),
    high = tonumber(high), seconds_per_km = {}}
  for seconds in string.gmatch(hours, '%S+') do table.insert(rule.seconds_per_km, tonumber(seconds)) end
  return rule
end)

-- Returns the travel time (ms) that four of five journeys over this distance (m) do not exceed, if they begin at `at`
-- (ms).
function TravelRule.travel_ms(rule, at, distance_m)
  local pace = rule.seconds_per_km[math.floor(at / TravelRule.HOUR_MS) % #rule.seconds_per_km + 1]
  return math.ceil(pace * (distance_m / 1000) ^ rule.exponent * rule.high * 1000)
end

-- Returns whether the journey takes longer than `free_ms`. An upper bound of the distance, the sum of the differences
-- in degrees, is tried first: it needs a tenth of the computing time, and often there is enough time even for that
-- distance.
function TravelRule.takes_longer(rule, at, lat, lon, visit, free_ms)
  local longest_m = TravelRule.DEGREE_M * (math.abs(lat - visit.lat) + math.abs(lon - visit.lon))
  return free_ms < TravelRule.travel_ms(rule, at, longest_m)
    and free_ms < TravelRule.travel_ms(rule, at, Geo.distance_m(lat, lon, visit.lat, visit.lon))
end
