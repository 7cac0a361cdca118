--[[ wave_open: one round of offers. Due work `wave:<job>:<n>`; a no-op where wave n is no longer the next.
KEYS    meta  job  offers  waves  supply  due  log
ARGV    epoch  entry  wave  size  radius_m  interval_ms  offer_ms  walks  weights  limits  told  unfilled_told
OK      seq  version  asked  more
ERR     STALE_EPOCH
EMITS   offer.created  job.searching  job.unfilled
TOUCHES {z}:tech:*  {z}:tech:*:offers  {z}:demand:*  {z}:wide:*  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/geo"
--- @include "lib/candidates"
--- @include "lib/search"
--- @include "lib/seeking"
--- @include "lib/ranking"
--- @include "lib/offering"
--- @include "lib/waving"
--- @include "lib/append"
local meta, job, offers, waves, supply, due, log = unpack(KEYS)
local epoch, entry, wave, size, radius_m, interval_ms, offer_ms, walks, weights, limits, told, unfilled_told =
  unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j or not invites(j) or j.wave + 1 ~= tonumber(wave) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, 0, '0'}
end
if put_off(z, j, entry) or full_of_offers(z, offers, entry) then return {'OK', '0', 0, 0, 0, '0'} end
job_load_search(j)
local w, first = look_for(z, j, tonumber(size), tonumber(radius_m), weights, limits_parse(limits)), j.walk == ''
resumed(z, j, w)
w.room = offers_room(z, offers)
if first and wave == '1' then redis.call('HSET', job, 'sought', z.now) end
local chosen = first and prefer(z, j, offers, w) or nil
if walks == '1' then w.mode = 'walk' end
if w.mode == 'walk' then w.more = not walk(z, j, offers, supply, w)
elseif w.size > 0 then search(z, j, offers, supply, w) end
local undecided = w.more and w.mode ~= 'walk'
if w.dense then w.mode, w.more, undecided = 'walk', true, false end
local best = undecided and {} or ranked(w)
if chosen then
  table.insert(best, 1, chosen)
  j.alone = z.now + w.limits.alone
  redis.call('HSET', job, 'alone', j.alone)
end
local ids, groups, base = {}, {}, chosen and j.alone or others_from(z, j, offers)
for i, fit in ipairs(best) do
  ids[i] = fit.id
  local opens = fit == chosen and z.now or base + head_start(w, w.made + i)
  local g = groups[opens] or {expires = offer_end(j, opens, tonumber(offer_ms))}
  g[#g + 1], groups[opens] = 'user:' .. fit.id, g
  offer_make(z, j, offers, fit.id, wave, fit.far, g.expires, opens)
end
wave_noted(z, w, waves, wave, ids)
w.made = w.made + #ids
local next_at = math.max(w.began + tonumber(interval_ms), z.now)
local done = not w.more or (walks ~= '1' and (w.made >= tonumber(size) or z.now == next_at))
redis.call('ZREM', due, entry)
if done then
  redis.call('HSET', job, 'wave', wave, 'walk', '', 'radius', radius_m, 'offer_ms', offer_ms, 'limits', limits, 'opens',
    base + head_start(w, w.made))
  redis.call('ZADD', due, next_at, 'wave:' .. j.id .. ':' .. wave + 1)
  widened(z, j, w.radius == 0)
else
  redis.call('HSET', job, 'walk', paused(w))
  redis.call('ZADD', due, z.now, entry)
end
local total = redis.call('HINCRBY', job, 'asked', #ids)
for opens, g in pairs(groups) do
  redis.call('ZADD', due, 'LT', g.expires + w.limits.grace, 'offers:' .. j.id .. ':' .. wave)
  if opens <= z.now then append(z, log, offer_created(z, j, g, wave, g.expires))
  else redis.call('ZADD', due, opens, opening(j, wave, opens)) end
end
if first and unfilled_told ~= '' then append(z, log, unfilled(j, unfilled_told)) end
if done then append(z, log, searching(z, j, w, wave, total, next_at, told)) end
leave(z)
return {'OK', '0', z.seq, j.version, #ids, done and '0' or '1'}
