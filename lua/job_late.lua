--[[ job_late: a job has been in a state for too long; ops are told. Due work `timer:<job>:<entered>:<index>`, a no-op
where the job has moved on.
KEYS    meta  job  due  log
ARGV    epoch  entry  bp  entered  step  told
OK      seq  version
ERR     STALE_EPOCH  OTHER_BLUEPRINT
EMITS   job.late
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/audience"
--- @include "lib/append"
local meta, job, due, log = unpack(KEYS)
local epoch, entry, bp, entered, step, told = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
redis.call('ZREM', due, entry)
if not j or j.entered ~= entered or step == '' then return {'OK', '0', 0, 0} end
local since = tonumber(redis.call('HGET', job, 'since') or j.updated)
local seq = append(z, log, {type = 'job.late', to = audience(told, j), bp = j.bp,
  data = '{"job":{"id":"' .. j.id .. '"},"status":"' .. j.status .. '","since":' .. iso(since) .. ',"step":"' .. step .. '"}'})
leave(z)
return {'OK', '0', seq, j.version}
