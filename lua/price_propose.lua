--[[ price_propose: stores another price that one side of a job proposes to the other side. Only one proposal is open at
a time.
KEYS    meta  job  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  id  amount  reason  states  audience
OK      seq  version  job_id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  FROZEN  PRICE_LOCKED  ILLEGAL_TRANSITION  DUPLICATE  VERSION_CONFLICT
EMITS   price.proposed
]]
--- @include "lib/audience"
--- @include "lib/command"
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/proposal"
--- @include "lib/relation"
--- @include "lib/zone"
local meta, job_key, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, id, amount, reason, states, audience = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, again = Command.begin(zone, job_key, {bp = bp, req = req, fingerprint = fingerprint, causes = causes})
if again then return again end
if not job or not Relation.any(job, actor, 'customer holder') then
  return Command.not_found(job, req, fingerprint)
end
local why = Proposal.refusal(job, states)
if why then return Idempotency.refuse(req, fingerprint, why) end
if Proposal.is_open(job, Proposal.load(job)) then return Idempotency.refuse(req, fingerprint, 'DUPLICATE') end
if if_version ~= '' and tonumber(if_version) ~= job.version then
  return Idempotency.refuse(req, fingerprint, 'VERSION_CONFLICT')
end

local proposal = {status = 'open', id = id, amount = amount, by = actor, holder = job.holder,
  created = Iso.format(zone.now), reason = reason}
Proposal.save(job, proposal)
Idempotency.store(req, fingerprint, zone.seq + 1, job.version, job.id, Idempotency.CREATION_MS, causes)
local seq = EventLog.append(zone, log, {type = 'price.proposed', to = Audience.channels(audience, job), actor = actor,
  bp = bp, trace = trace, cause = key .. ':' .. fingerprint, data = '{"job":' .. Job.full_json(job) .. ',"proposal":' ..
    Proposal.json(proposal) .. '}'})
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, job.id}
