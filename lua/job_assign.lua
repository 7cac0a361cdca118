--[[ job_assign: ops (or the engine) name the technician who is to do the job, in place of the present one if any.
KEYS    meta  job  offers  causes  tech  log  req
ARGV    epoch  technician  actor  key  fingerprint  trace  if_version  bp  plan  args
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  INVALID  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  AT_CAPACITY
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status
TOUCHES {z}:job:*:bids  {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  {z}:user:*:jobs  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/repeat"
--- @include "lib/moving"
local meta, job, offers, causes, tech, log, req = unpack(KEYS)
local epoch, technician, actor, key, fingerprint, trace, if_version, bp, plan, args = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local p, a, by = cjson.decode(plan), cjson.decode(args), {bp = bp, actor = actor, cause = key .. ':' .. fingerprint,
  trace = trace, req = req, fingerprint = fingerprint, causes = causes}
local j, again = begin(z, job, by)
if again then return again end
if not j or not related(j, actor, p.by) then return refuse(req, fingerprint, 'NOT_FOUND') end
local why = step_refused(z, j, p, actor, if_version)
if why then return refuse(req, fingerprint, why) end
-- To whom he has already been given, nothing changes.
if j.holder == technician then return as_it_was(req, fingerprint, string.match(j.last, '(%d+)$'), j.version, j.id) end
local t = tech_load(tech)
if not t then return refuse(req, fingerprint, 'INVALID') end
why = unfit(t)
if why then return refuse(req, fingerprint, why) end
if not a.force then
  if not string.find(' ' .. t.services .. ' ', ' ' .. j.service .. ' ', 1, true) then
    return refuse(req, fingerprint, 'INVALID')
  end
  if t.load >= t.capacity and j.begins <= z.now then return refuse(req, fingerprint, 'AT_CAPACITY') end
end
redis.call('HDEL', job, 'unserved')
return finish(z, log, j, moving(z, j, offers, p, a, actor, t), by)
