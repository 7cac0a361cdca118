--[[ match: return the technicians to whom a job would be offered now, without writing anything. It does what
wave_open does between its checks and the writing of offers. Where wave_open would continue in another turn of Redis,
this script continues at once.
KEYS    meta  job  offers  supply
ARGV    epoch  size  radius_m  weights  limits
OK      turns  radius_m  visited  technicians
ERR     STALE_EPOCH
]]
--- @include "lib/candidates"
--- @include "lib/job"
--- @include "lib/limits"
--- @include "lib/ranking"
--- @include "lib/search"
--- @include "lib/wave"
--- @include "lib/zone"
local meta, job_key, offers, supply = unpack(KEYS)
local epoch, size, radius_m, weights, limits = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
Candidates.load_search_fields(job)
local wave, turns = Wave.new(zone, job, tonumber(size), tonumber(radius_m), weights, Limits.parse(limits)), 1
Wave.resume(zone, job, wave)
while not Search.by_radius(zone, job, offers, supply, wave) and not wave.dense do turns = turns + 1 end
local best = Ranking.best(wave)
for i, fit in ipairs(best) do best[i] = fit.id end
return {'OK', tostring(turns), tostring(wave.reach), wave.visited, unpack(best)}
