-- The engine's own choice of a technician: the best among the nearest MAX_CANDIDATES who fit. To rank a whole city
-- would be exact, but would block the zone. The record of the wave contains the scores of the best MAX_SCORES.
--- @include "lib/candidates"
--- @include "lib/geo"
--- @include "lib/limits"
--- @include "lib/ranking"
--- @include "lib/search"
--- @include "lib/wave"
local Allocation = {}

Allocation.MAX_CANDIDATES, Allocation.MAX_SCORES, Allocation.FIRST_RADIUS_M = 32, 16, 4000

function Allocation.search_turn(zone, job, offers, supply, wave)
  if wave.mode == 'walk' then return not Search.by_rank(zone, job, offers, supply, wave) and #wave.fit == 0 end
  if not Search.by_radius(zone, job, offers, supply, wave) and not wave.dense then return true end
  if not wave.dense then return false end
  -- Too many technicians in one place were asked already. From now on the search visits the index by rank, and ends
  -- with the first turn that finds somebody.
  wave.mode = 'walk'
  return #wave.fit == 0
end

-- Returns the candidate who gets the job, or nil, and whether the search needs another turn. The customer's preferred
-- technician gets the job if they fit, wherever in the zone they are. Without a radius the search starts at
-- FIRST_RADIUS_M and widens to the whole earth.
function Allocation.choose(zone, job, offers, supply, wave, first)
  local whole = wave.radius == 0
  if whole then wave.radius = Geo.WHOLE_EARTH_M end
  Wave.resume(zone, job, wave)
  if first and whole and redis.call('ZCARD', supply) >= Limits.MAX_VISITS then
    wave.reach = Allocation.FIRST_RADIUS_M
  end
  local best, more = first and Wave.take_preferred(zone, job, offers, wave) or nil, false
  if best then wave.fit = {best} else more = Allocation.search_turn(zone, job, offers, supply, wave) end
  if whole then wave.radius = 0 end
  if more then return nil, true end
  Ranking.sort(wave.fit)
  for i = 2, #wave.fit do Candidates.exclude(wave, 'rank', wave.fit[i].id) end
  return wave.fit[1], false
end

-- Returns why this candidate was chosen: each part of the score, for the best candidates.
function Allocation.scores_json(zone, wave)
  return Ranking.scores_json(zone, wave, wave.fit, Allocation.MAX_SCORES)
end
