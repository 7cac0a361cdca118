--[[ match: who would be offered a job now, and nothing written: what wave_open does between its guards and its
offers, by the same steps. Where wave_open would go on in another turn, this goes on at once.
KEYS    meta  job  offers  supply
ARGV    epoch  size  radius_m  weights  limits
OK      turns  radius_m  visited  technicians
ERR     STALE_EPOCH
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
local meta, job, offers, supply = unpack(KEYS)
local epoch, size, radius_m, weights, limits = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
job_load_search(j)
local w, turns = look_for(z, j, tonumber(size), tonumber(radius_m), weights, limits_parse(limits)), 1
resumed(z, j, w)
while not search(z, j, offers, supply, w) and not w.dense do turns = turns + 1 end
local best = ranked(w)
for i, fit in ipairs(best) do best[i] = fit.id end
return {'OK', tostring(turns), tostring(w.r), w.visited, unpack(best)}
