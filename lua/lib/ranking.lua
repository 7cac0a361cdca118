-- Scores the candidates of a search, sorts them and selects the best.
--- @include "lib/candidates"
--- @include "lib/memo"
local Ranking = {}

-- Returns the five weights of a text, as numbers.
Ranking.parse_weights = Memo.of(function(text)
  local weights = {}
  for weight in string.gmatch(text, '[^ ]+') do weights[#weights + 1] = tonumber(weight) end
  return weights
end)

-- Returns the function that scores a candidate, and whether the score depends only on the distance, so that the order
-- of the index is good enough. score = km × wd − rating × wr − acceptance × wa − hours waiting × ww + load ÷ capacity ×
-- wl, with the blueprint's weights `wd wr wa ww wl` (engine/blueprint/wave_plan.py); lower is better. The function also
-- returns the parts, for the record of the wave.
function Ranking.scorer(weights, share)
  local wd, wr, wa, ww, wl = unpack(Ranking.parse_weights(weights))
  local plain = wa == 0 and ww == 0 and share == 0
  local nearest = plain and wr == 0 and wl == 0
  return function(zone, fit, stars, load)
    local distance = (fit.far + fit.uncertainty_m) / 1000 * wd
    if nearest then return distance, distance, 0, 0, 0, 0 end
    local rating, workload, acceptance, waiting = -stars * wr, load * wl, 0, 0
    if not plain then
      local row = redis.call('HMGET', zone.tag .. 'tech:' .. fit.id, 'asked', 'accepted', 'free_at')
      fit.won = tonumber(row[2]) or 0
      acceptance = -(fit.won + 1) / ((tonumber(row[1]) or 0) + 2) * wa
      waiting = -(zone.now - (tonumber(row[3]) or zone.now)) / 3600000 * ww
    end
    return distance + rating + acceptance + waiting + workload, distance, rating, acceptance, waiting, workload
  end, nearest
end

function Ranking.precedes(one, other)
  return one.score < other.score or (one.score == other.score and one.id < other.id)
end

-- Sorts candidates, the lowest score first, ties by id. The candidates of a search by distance are mostly in order.
-- Distinct scores are sorted as numbers: with a function that compares, table.sort takes several times as long.
function Ranking.sort(fits)
  local sorted = 1
  while sorted < #fits and fits[sorted].score < fits[sorted + 1].score do sorted = sorted + 1 end
  if sorted >= #fits then return end
  local scores, by_score = {}, {}
  for i, fit in ipairs(fits) do
    if by_score[fit.score] then return table.sort(fits, Ranking.precedes) end
    scores[i], by_score[fit.score] = fit.score, fit
  end
  table.sort(scores)
  for i, score in ipairs(scores) do fits[i] = by_score[score] end
end

-- Returns the best candidates who fit, in order, at most wave.size. A share of these places is reserved for newcomers:
-- the best newcomers replace the last candidates who are not newcomers, if there are any newcomers.
function Ranking.best(wave)
  Ranking.sort(wave.fit)
  local best, reserved, limits = {}, 0, wave.limits
  local count = math.min(wave.size, #wave.fit)
  if count < #wave.fit then reserved = math.floor(wave.size * limits.share + 0.5) end
  for i = 1, count do
    best[i] = wave.fit[i]
    if reserved > 0 and best[i].won < limits.jobs then reserved = reserved - 1 end
  end
  local last, changed = count, false
  for i = count + 1, #wave.fit do
    local fit = wave.fit[i]
    while reserved > 0 and last > 0 and best[last].won < limits.jobs do last = last - 1 end
    if reserved > 0 and last > 0 and fit.won < limits.jobs then
      Candidates.exclude(wave, 'newcomers', best[last].id)
      best[last], reserved, last, changed = fit, reserved - 1, last - 1, true
    else Candidates.exclude(wave, 'rank', fit.id) end
  end
  if changed then Ranking.sort(best) end
  return best
end

-- Returns the parts of the score of these candidates, at most `count`, as JSON. `wave.explains` was set for them.
function Ranking.scores_json(zone, wave, fits, count)
  local parts = {}
  for i = 1, math.min(#fits, count) do
    local fit = fits[i]
    parts[i] = string.format('{"technician":"%s","score":%.3f,"distance":%.3f,"rating":%.3f,"acceptance":%.3f,' ..
      '"waiting":%.3f,"workload":%.3f}', fit.id, wave.score(zone, fit, fit.rating, fit.workload))
  end
  return table.concat(parts, ',')
end
