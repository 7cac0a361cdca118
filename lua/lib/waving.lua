--- @include "lib/audience"
-- What is looked for, and what is noted of it: shared by waves and by the engine's own choice.
local function look_for(z, j, size, radius, weights, limits)
  local score, nearest = scorer(weights, limits.share)
  local blocks = z.tag .. 'user:' .. j.customer .. ':blocks'
  return {size = size, radius = radius, fit = {}, out = {}, met = {}, visited = 0, doubtful = 0, score = score,
    nearest = nearest, limits = limits, cap = limits.cap, room = 256, looks = 128, blocks = redis.call('EXISTS', blocks) == 1 and blocks or nil}
end

-- A wave of several turns goes on where it was: how, how far, since when, and how many it has asked.
local function resumed(z, j, w)
  local mode, r, up, down, began, made = string.match(j.walk, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  w.mode, w.r, w.up, w.down = mode or 'search', tonumber(r) or w.radius, tonumber(up), tonumber(down)
  w.made, w.began = tonumber(made) or 0, tonumber(began) or z.now
  w.size = w.size - w.made
end

local function paused(w)
  return string.format('%s %.0f %s %s %.0f %d', w.mode, w.r, w.up or '-', w.down or '-', w.began, w.made)
end

-- How much later than the first he may claim who stands at this rank in his wave.
local function head_start(w, rank) return rank > w.limits.first and w.limits.head or 0 end

-- Who the customer prefers is asked before all others, wherever in the zone he is; he takes one of the places.
local function prefer(z, j, offers, w)
  if j.preferred == '' then return nil end
  local radius = w.radius
  w.radius = 0
  consider(z, j, offers, {j.preferred}, w)
  w.radius = radius
  if #w.fit > 0 then w.size, w.room = w.size - 1, w.room - 1 end
  return table.remove(w.fit)
end

-- From when the others may claim: as long as his offer is open, who is preferred has his time alone.
local function others_from(z, j, offers)
  if j.alone <= z.now then return z.now end
  local text = redis.call('HGET', offers, j.preferred)
  return text and string.sub(text, 1, 5) == 'sent ' and j.alone or z.now
end

local SHOWN = 64 -- ids kept a reason; the counts are whole

local function wave_record(z, w, wave, ids, more)
  local parts = {}
  for why, list in pairs(w.out) do
    parts[#parts + 1] = '"' .. why .. '":{"count":' .. #list .. ',"technicians":["' ..
      table.concat(list, '","', 1, math.min(#list, SHOWN)) .. '"]}'
  end
  local inside = #ids > 0 and '"' .. table.concat(ids, '","') .. '"' or ''
  return '{"wave":' .. wave .. ',"at":' .. iso(z.now) .. ',"radius_m":' .. (w.radius > 0 and w.radius or 'null') ..
    ',"visited":' .. w.visited .. ',"in":{"count":' .. #ids .. ',"technicians":[' .. inside .. ']},"out":{' ..
    table.concat(parts, ',') .. '}' .. (more or '') .. '}'
end

-- What a round leaves behind, whatever came of it.
local function wave_noted(z, w, waves, wave, ids, more)
  redis.call('LPUSH', waves, wave_record(z, w, wave, ids, more))
  redis.call('LTRIM', waves, 0, 63)
end

-- Ops hear once that all declared rounds are over and nobody has the job.
local function unfilled(j, words)
  local since = tonumber(redis.call('HGET', j.key, 'sought'))
  return {type = 'job.unfilled', to = audience(words, j), bp = j.bp, data = '{"job":{"id":"' .. j.id .. '"},"since":' ..
    (since and iso(since) or 'null') .. ',"step":"' .. j.mode .. '"}'}
end

-- Where the present wave leaves nobody out for being far, who comes late finds the job by an index of its own.
local function widened(z, j, wide)
  local key = z.tag .. 'wide:' .. j.service
  if wide then redis.call('GEOADD', key, j.lon, j.lat, j.id) else redis.call('ZREM', key, j.id) end
end

local function searching(z, j, w, wave, asked, next_at, words)
  return {type = 'job.searching', to = audience(words, j), bp = j.bp, data = '{"job":{"id":"' .. j.id ..
    '"},"wave":' .. wave .. ',"asked":' .. asked .. ',"declined":' .. j.declined .. ',"radius_m":' ..
    (w.radius > 0 and w.radius or 'null') .. ',"next_at":' .. iso(next_at) .. '}'}
end
