--[[ job_stall: a job stays with a technician who cannot go on with it; ops are told once for each such technician.
KEYS    meta  job  log
ARGV    epoch  technician  step  told
OK      seq  version
ERR     STALE_EPOCH
EMITS   job.stalled
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/audience"
--- @include "lib/append"
local meta, job, log = unpack(KEYS)
local epoch, technician, step, told = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j or j.holder ~= technician or redis.call('HGET', job, step) == technician then return {'OK', '1', 0, 0} end
redis.call('HSET', job, step, technician)
local seq = append(z, log, {type = 'job.stalled', to = audience(told, j), bp = j.bp, data = '{"job":{"id":"' .. j.id ..
  '"},"technician":{"id":"' .. technician .. '"},"since":' .. iso(z.now) .. ',"step":"' .. step .. '"}'})
leave(z)
return {'OK', '0', seq, j.version}
