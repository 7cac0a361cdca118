-- Chooses the technicians whom one turn of a wave asks. Waves and previews use it.
--- @include "lib/ranking"
--- @include "lib/search"
--- @include "lib/wave"
local WaveChoice = {}

-- Returns the technicians to ask, in order; the preferred one among them, who comes first; and whether the search is
-- still undecided. Sets `wave.more`: whether the wave continues in another turn.
function WaveChoice.choose(zone, job, offers, supply, wave, whole_zone)
  local first = job.walk == ''
  Wave.resume(zone, job, wave)
  local chosen = first and Wave.take_preferred(zone, job, offers, wave) or nil
  if whole_zone then wave.mode = 'walk' end
  if wave.mode == 'walk' then wave.more = not Search.by_rank(zone, job, offers, supply, wave)
  elseif wave.size > 0 then Search.by_radius(zone, job, offers, supply, wave) end
  local undecided = wave.more and wave.mode ~= 'walk'
  if wave.dense then wave.mode, wave.more, undecided = 'walk', true, false end
  local best = undecided and {} or Ranking.best(wave)
  if chosen then table.insert(best, 1, chosen) end
  return best, chosen, undecided
end
