--[[ wave_open: one round of offers. Due work `wave:<job>:<n>`; a no-op where wave n is no longer the next.
KEYS    meta  job  offers  waves  supply  due  log
ARGV    epoch  entry  wave  size  radius_m  interval_ms  offer_ms  walks  wd  wr  wa  ww  told
OK      seq  version  asked  more
ERR     STALE_EPOCH
EMITS   offer.created  job.searching
TOUCHES {z}:tech:*  {z}:tech:*:offers  {z}:demand:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/audience"
--- @include "lib/geo"
--- @include "lib/candidates"
--- @include "lib/search"
--- @include "lib/offering"
--- @include "lib/append"
local meta, job, offers, waves, supply, due, log = unpack(KEYS)
local epoch, entry, wave, size, radius_m, interval_ms, offer_ms, walks, wd, wr, wa, ww, told = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j or j.phase ~= 'open' or j.holder ~= '' or j.wave + 1 ~= tonumber(wave) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, 0, '0'}
end
job_load_search(j)
local w = {size = tonumber(size), radius = tonumber(radius_m), fit = {}, out = {}, met = {}, visited = 0,
  nearest = tonumber(wr) == 0 and tonumber(wa) == 0 and tonumber(ww) == 0, score = scorer(z, tonumber(wd), tonumber(wr), tonumber(wa), tonumber(ww))}
local mode, r, up, down, began, made = string.match(j.walk, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
w.r, w.up, w.down = tonumber(r) or w.radius, tonumber(up), tonumber(down)
made, began = tonumber(made) or 0, tonumber(began) or z.now
w.size = w.size - made
if walks == '1' or mode == 'walk' then w.more = not walk(z, j, offers, supply, w)
else
  search(z, j, offers, supply, w)
  if w.dense then mode, w.more = 'walk', true end
end
table.sort(w.fit, function(a, b) return a.score < b.score or (a.score == b.score and a.id < b.id) end)
local undecided = w.more and walks ~= '1' and mode ~= 'walk'
local ids, to, expires = {}, {}, offer_end(z, j, tonumber(offer_ms))
for i = 1, undecided and 0 or math.min(w.size, #w.fit) do
  ids[i], to[i] = w.fit[i].id, 'user:' .. w.fit[i].id
  offer_make(z, j, offers, ids[i], wave, w.fit[i].far, expires)
end
redis.call('LPUSH', waves, wave_record(z, w, wave, ids))
redis.call('LTRIM', waves, 0, 63)
made = made + #ids
local next_at = began + tonumber(interval_ms)
local done = not w.more or (walks ~= '1' and (made >= tonumber(size) or z.now >= next_at))
redis.call('ZREM', due, entry)
if done then
  redis.call('HSET', job, 'wave', wave, 'walk', '', 'radius', radius_m, 'offer_ms', offer_ms)
  redis.call('ZADD', due, math.max(next_at, z.now), 'wave:' .. j.id .. ':' .. wave + 1)
else
  redis.call('HSET', job, 'walk', string.format('%s %.0f %s %s %.0f %d', mode or 'search', w.r, w.up or '-', w.down or '-',
    began, made))
  redis.call('ZADD', due, z.now, entry)
end
local total = redis.call('HINCRBY', job, 'asked', #ids)
if #ids > 0 then
  redis.call('ZADD', due, expires, 'offers:' .. j.id .. ':' .. wave)
  append(z, log, offer_created(z, j, to, wave, expires))
end
if done then append(z, log, {type = 'job.searching', to = audience(told, j), bp = j.bp,
  data = '{"job":{"id":"' .. j.id .. '"},"wave":' .. wave .. ',"asked":' .. total .. ',"declined":' ..
    j.declined .. ',"radius_m":' .. (w.radius > 0 and radius_m or 'null') .. ',"next_at":' ..
    iso(math.max(next_at, z.now)) .. '}'})
end
leave(z)
return {'OK', '0', z.seq, j.version, #ids, done and '0' or '1'}
