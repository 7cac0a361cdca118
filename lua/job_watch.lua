--[[ job_watch: is the holder on his way? He may stand still, go away or go dark; what holds at two looks is told, and
after a grace the caller may take the job from him. Due work `timer:<job>:<entered>:w`; a no-op where the job moved on.
KEYS    meta  job  due  log
ARGV    epoch  entry  entered  still_ms  still_m  away_m  dark_ms  grace_ms  every_ms  told_stalled  told_dark
OK      seq  version  verdict
ERR     STALE_EPOCH
EMITS   job.stalled  job.dark
TOUCHES {z}:tech:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/geo"
--- @include "lib/audience"
--- @include "lib/append"
--- @include "lib/watching"
local meta, job, due, log = unpack(KEYS)
local epoch, entry, entered, still_ms, still_m, away_m, dark_ms, grace_ms, every_ms, told_stalled, told_dark = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j or j.entered ~= entered or j.holder == '' then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, 'moved_on'}
end
redis.call('ZADD', due, z.now + every_ms, entry)
local t, v = tech_load(z.tag .. 'tech:' .. j.holder), redis.call('HMGET', job, 'lat', 'lon', 'since', 'watch')
local w = watch_load(v[4], tonumber(v[3]) or z.now)
-- Within a pause's grace nobody was heard of, whoever he is.
local why = t and over(z, 1, tonumber(dark_ms)) and
  watch_why(z, w, t, v[1], v[2], tonumber(still_ms), tonumber(still_m), tonumber(away_m), tonumber(dark_ms)) or nil
local seq, verdict = 0, 'well'
if not why then w.why, w.looks, w.told = '-', 0, 0
elseif why ~= w.why then w.why, w.looks, w.told = why, 1, 0
else
  w.looks = w.looks + 1
  if w.told == 0 then
    w.told = z.now
    local kind = why == 'dark' and {'job.dark', told_dark} or {'job.stalled', told_stalled}
    seq = append(z, log, {type = kind[1], to = audience(kind[2], j), bp = j.bp, data = '{"job":{"id":"' .. j.id ..
      '"},"technician":{"id":"' .. j.holder .. '"},"since":' .. iso(w.since) .. ',"step":"warn","reason":"' .. why .. '"}'})
    leave(z)
    verdict = 'told'
  elseif z.now >= w.told + grace_ms then verdict = 'over' end
end
watch_save(j, w)
return {'OK', '0', seq, j.version, verdict}
