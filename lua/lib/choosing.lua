-- The engine's own choice: the best of the nearest who fit, as many of these as are `CONSIDERED`. All of a city would
-- be exact, and would stop the zone.
local CONSIDERED, FROM, ANYWHERE = 32, 4000, 21000000

local function considered(z, j, offers, supply, w)
  if w.mode == 'walk' then return not walk(z, j, offers, supply, w) and #w.fit == 0 end
  if not search(z, j, offers, supply, w) and not w.dense then return true end
  if not w.dense then return false end
  -- Too many in one place were asked already: from now on along the index, and the first turn with anybody decides.
  w.mode = 'walk'
  return #w.fit == 0
end

-- The one to have the job, or nil; and whether the look goes on in another turn. Who the customer prefers has it if he
-- fits, wherever in the zone he is. Without a radius it begins at some kilometres and widens to everywhere.
local function choose(z, j, offers, supply, w, first)
  local whole = w.radius == 0
  if whole then w.radius = ANYWHERE end
  resumed(z, j, w)
  if first and whole and redis.call('ZCARD', supply) >= 256 then w.r = FROM end
  local best, more = first and prefer(z, j, offers, w) or nil, false
  if best then w.fit = {best} else more = considered(z, j, offers, supply, w) end
  if whole then w.radius = 0 end
  if more then return nil, true end
  table.sort(w.fit, before)
  for i = 2, #w.fit do note(w, 'rank', w.fit[i].id) end
  return w.fit[1], false
end

-- Why this one and not another: of the best, what each part of the score was.
local function scores(w)
  local parts = {}
  for i = 1, math.min(#w.fit, 16) do
    local fit = w.fit[i]
    parts[i] = string.format('{"technician":"%s","score":%.3f,"distance":%.3f,"rating":%.3f,"acceptance":%.3f,' ..
      '"waiting":%.3f,"workload":%.3f}', fit.id, fit.score, fit.distance or fit.score, fit.rating or 0,
      fit.acceptance or 0, fit.waiting or 0, fit.workload or 0)
  end
  return table.concat(parts, ',')
end
