--[[ share_create: creates a link to a job, valid for at most `valid_ms`. Everybody who has the link can follow the job.
Only the job's customer and ops may create one. The link ends with the job.
KEYS    meta  job  log  req
ARGV    epoch  actor  key  fingerprint  trace  id  valid_ms
OK      seq  version  data
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  ILLEGAL_TRANSITION  INVALID
EMITS   share.created
]]
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/relation"
--- @include "lib/shares"
--- @include "lib/zone"
local meta, job_key, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, id, valid_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = Idempotency.lookup(req, fingerprint)
if again then return again end
local job = Job.load(job_key)
if not job or not Relation.any(job, actor, 'customer ops') then return {'NOT_FOUND', '0'} end
if not Shares.may_have(job) then return Idempotency.refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
local found = Shares.open(zone, job_key)
if #found >= Shares.MAX_OPEN then return Idempotency.refuse(req, fingerprint, 'INVALID') end

local expires = zone.now + tonumber(valid_ms)
found[#found + 1] = {id = id, text = id .. ' ' .. string.format('%.0f', expires) .. ' ' .. actor}
Shares.save(job_key, found)
Idempotency.store(req, fingerprint, zone.seq + 1, 0, '-', Idempotency.CREATION_MS)
local data = '{"share":{"id":"' .. id .. '","expires_at":' .. Iso.format(expires) .. '},"job":{"id":"' .. job.id .. '"}}'
local seq = EventLog.append(zone, log, {type = 'share.created', to = Shares.channels(job), actor = actor, bp = job.bp,
  trace = trace, cause = key .. ':' .. fingerprint, data = data})
EventLog.save_seq(zone)
return {'OK', '0', seq, 0, data}
