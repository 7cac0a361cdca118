-- score = km × wd − rating × wr − acceptance × wa − hours waiting × ww + load ÷ capacity × wl, with the blueprint's
-- weights (`wd wr wa ww wl`); lower is better. What it is made of stays with the candidate, for who asks why.
-- The second value: whether distance alone ranks, so that the index's own order is good enough.
local function scorer(weights, share)
  local wd, wr, wa, ww, wl = string.match(weights, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  wd, wr, wa, ww, wl = tonumber(wd), tonumber(wr), tonumber(wa), tonumber(ww), tonumber(wl)
  local plain = wa == 0 and ww == 0 and share == 0
  local nearest = plain and wr == 0 and wl == 0
  return function(z, fit, t)
    if nearest then return fit.far / 1000 * wd end
    fit.distance, fit.rating, fit.workload = fit.far / 1000 * wd, -t.rating * wr, t.load / t.capacity * wl
    fit.acceptance, fit.waiting = 0, 0
    if not plain then
      local h = redis.call('HMGET', z.tag .. 'tech:' .. fit.id, 'asked', 'accepted', 'free_at')
      fit.won = tonumber(h[2]) or 0
      fit.acceptance = -(fit.won + 1) / ((tonumber(h[1]) or 0) + 2) * wa
      fit.waiting = -(z.now - (tonumber(h[3]) or z.now)) / 3600000 * ww
    end
    return fit.distance + fit.rating + fit.acceptance + fit.waiting + fit.workload
  end, nearest
end

local function before(a, b) return a.score < b.score or (a.score == b.score and a.id < b.id) end

-- The best of those who fit, in order, at most w.size of them. Of these places a share is kept for newcomers: the
-- last who are none make room for the best newcomers behind them, as far as there are such.
local function ranked(w)
  table.sort(w.fit, before)
  local best, seats, limits = {}, 0, w.limits
  local n = math.min(w.size, #w.fit)
  if n < #w.fit then seats = math.floor(w.size * limits.share + 0.5) end
  for i = 1, n do
    best[i] = w.fit[i]
    if seats > 0 and best[i].won < limits.jobs then seats = seats - 1 end
  end
  local last = n
  for i = n + 1, #w.fit do
    local fit = w.fit[i]
    while seats > 0 and last > 0 and best[last].won < limits.jobs do last = last - 1 end
    if seats > 0 and last > 0 and fit.won < limits.jobs then
      note(w, 'newcomers', best[last].id)
      best[last], seats, last = fit, seats - 1, last - 1
    else note(w, 'rank', fit.id) end
  end
  table.sort(best, before)
  return best
end
