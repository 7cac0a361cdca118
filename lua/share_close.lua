--[[ share_close: ends a link to a job before its time. Only the job's customer and ops may end links. Each of them may
also end a link that the other created. For a link that is not open, the reply is that of a repeat.
KEYS    meta  job  log  req
ARGV    epoch  actor  key  fingerprint  trace  id
OK      seq  version
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND
EMITS   share.closed
]]
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/job"
--- @include "lib/relation"
--- @include "lib/shares"
--- @include "lib/zone"
local meta, job_key, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, id = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = Idempotency.at_head(zone, Idempotency.lookup(req, fingerprint))
if again then return again end
local job = Job.load(job_key)
if not job or not Relation.any(job, actor, 'customer ops') then return {'NOT_FOUND', '0'} end
local left, is_open = {}, false
for _, share in ipairs(Shares.open(zone, job_key)) do
  if share.id == id then is_open = true else left[#left + 1] = share end
end
if not is_open then return Idempotency.answer_unchanged(zone, req, fingerprint, 0, '-', '') end

Shares.save(job_key, left)
Idempotency.store(req, fingerprint, zone.seq + 1, 0, '-', Idempotency.STEP_MS)
local seq = EventLog.append(zone, log, {type = 'share.closed', to = Shares.channels(job), actor = actor, bp = job.bp,
  trace = trace, cause = key .. ':' .. fingerprint,
  data = '{"share":{"id":"' .. id .. '"},"job":{"id":"' .. job.id .. '"}}'})
EventLog.save_seq(zone)
return {'OK', '0', seq, 0}
