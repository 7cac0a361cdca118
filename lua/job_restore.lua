--[[ job_restore: restores a finished job that Redis has deleted, with its payments, for `keep_ms`. The caller has read the
job and the payments from the archive, which was at or past the head of the log. Nothing changes if the job is in Redis:
that state is newer. `fields` (of the job) and `records` (of the payments) are JSON lists of names and values in
turn.
KEYS    meta  job  payments
ARGV    epoch  fields  records  keep_ms
OK      seq  version
ERR     STALE_EPOCH
]]
--- @include "lib/zone"
local meta, job_key, payments = unpack(KEYS)
local epoch, fields, records, keep_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if redis.call('EXISTS', job_key) == 1 then return {'OK', '0', 0, 0} end
redis.call('DEL', payments)
for name, all in pairs({[job_key] = cjson.decode(fields), [payments] = cjson.decode(records)}) do
  for i = 1, #all, 2 do redis.call('HSET', name, all[i], all[i + 1]) end
  redis.call('PEXPIRE', name, keep_ms)
end
return {'OK', '0', 0, 0}
