-- An offer is `status wave opens_at expires_at distance_m` in the job's offers, and stands in its technician's pull
-- list by its deadline. An offer that is `sent` on a job no longer on offer is closed by that alone: rewriting ten
-- losers' offers and pull lists took a third of the claim. Whoever reads a pull list looks at the job as well.
local function offer_parse(text)
  local status, wave, opens, expires, distance = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {status = status, wave = tonumber(wave), opens = tonumber(opens), expires = tonumber(expires),
    distance = tonumber(distance)}
end

-- Of `all` offers of a job, as HGETALL gives them: one technician's.
local function offer_among(all, technician)
  for i = 1, #all, 2 do
    if all[i] == technician then return offer_parse(all[i + 1]) end
  end
  return nil
end

-- Of `all`: the channels of those who hold an open offer, but `keep`. Whose offer opens later has not heard of it.
local function offers_open(z, all, keep)
  local to = {}
  for i = 1, #all, 2 do
    local opens = all[i] ~= keep and string.match(all[i + 1], '^sent %S+ (%S+)')
    if opens and tonumber(opens) <= z.now then to[#to + 1] = 'user:' .. all[i] end
  end
  return to
end
