--[[ job_read: one job as it is now, with what decides who may see it.
KEYS    meta  job  offers
ARGV    epoch  technician
OK      seq  version  job  public  bp  status  phase  customer  holder  owner  offer
ERR     STALE_EPOCH  NOT_FOUND
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/public"
local meta, job, offers = unpack(KEYS)
local z = enter(meta, ARGV[1])
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j then return {'NOT_FOUND', '0'} end
return {'OK', '0', z.seq, j.version, job_full(j), job_public(j), j.bp, j.status, j.phase, j.customer, j.holder,
  redis.call('HGET', job, 'owner') or '', ARGV[2] ~= '' and redis.call('HGET', offers, ARGV[2]) or ''}
