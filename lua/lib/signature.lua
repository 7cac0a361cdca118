-- The signature of a job's customer. A command that signs (`plan.signs`) is accepted only with a signature. The caller
-- has compared the signed digest with the record of version `seen` of the job (engine/rules/job_record.py). The caller
-- has also encoded `members`, the members of the receipt in the event, as JSON.
--- @include "lib/job_fields"
--- @include "lib/money"
local Signature = {}

-- Returns a reply if the caller must read the job again, because the job has changed since version `seen`, or changed
-- in this same millisecond. Each time in the record must be before the time of the signature, so that the record of the
-- signed job is the one that was signed.
function Signature.conflict(zone, job, signature)
  if not signature then return nil end
  if job.signed == '' and (signature.seen ~= job.version or zone.now <= job.updated) then
    return {'VERSION_CONFLICT', '0', 'seen'}
  end
  return nil
end

-- Returns whether the caller requests only the checks, before it stores the image of the signature. Nothing is written.
function Signature.is_probe(signature) return signature and signature.probe end

-- Locks the price, if the command locks it or signs, and returns the members of the event for a signature. A job has
-- one signature and therefore one receipt, whose id is derived from the job's.
function Signature.apply(job, plan, signature, now)
  if signature or plan.locks_price then Money.lock_price(job) end
  if not signature then return '' end
  local receipt = 'rcp' .. string.sub(job.id, 4)
  job.signed = '{"receipt":"' .. receipt .. '","sha256":"' .. signature.sha256 .. '","at":' .. now .. '}'
  JobFields.set(job.key, 'signed', job.signed)
  return ',"receipt":{"id":"' .. receipt .. '",' .. signature.members .. '}'
end
