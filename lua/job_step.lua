--[[ job_step: one step of a job's blueprint: it moves, ends, is marked, frozen or thawed, or loses its holder. `plan`
is the command as declared, `args` what this call brings (engine/rules/plans.py); both JSON.
KEYS    meta  job  offers  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  plan  args
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  CODE_LOCKED  WRONG_CODE  STALE_CODE
EMITS   job.*  payment.requested  offer.closed  bid.closed  technician.status  code.failed  code.locked
TOUCHES {z}:job:*:bids  {z}:tech:*  {z}:tech:*:jobs  {z}:user:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  {z}:disputes  {z}:dispute:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/repeat"
--- @include "lib/moving"
local meta, job, offers, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, plan, args = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local p, a, by = cjson.decode(plan), cjson.decode(args), {bp = bp, actor = actor, cause = '', trace = trace}
if not a.entry then
  by.req, by.fingerprint, by.causes, by.cause = req, fingerprint, causes, key .. ':' .. fingerprint
end
local j, again = begin(z, job, by)
if again then return again end
-- Due work is done once, whatever comes of it: where the job has moved on, there is nothing to do.
-- No sooner than a lease after a pause, in which nobody could have done anything.
if a.entry and not over(z, 1, a.lease) then
  redis.call('ZADD', z.tag .. 'due', z.opened + a.lease + 1, a.entry)
  return {'OK', '0', 0, 0, '-'}
end
-- While the job is frozen it waits, and is looked at again and again.
if a.entry and not (j and j.frozen ~= '') then redis.call('ZREM', z.tag .. 'due', a.entry) end
if a.entry and (not j or j.entered ~= a.entered or step_refused(z, j, p, actor, '')) then return {'OK', '0', 0, 0, '-'} end
if not j or not related(j, actor, p.by) then return refuse(req, fingerprint, 'NOT_FOUND') end
-- The same step twice is one step; but who asks for new codes twice wants new ones.
if p.does ~= 'reissue' and string.find(j.last, p.command .. ' ' .. actor .. ' ', 1, true) == 1 then
  return as_it_was(req, fingerprint, string.match(j.last, '(%d+)$'), j.version, j.id)
end
local why = step_refused(z, j, p, actor, if_version)
if why then return refuse(req, fingerprint, why) end
-- Chosen for a service that they have no longer: they may only say no (technician_put).
if j.unaccepted == '1' and p.does ~= 'release' and actor == 'technician:' .. j.holder
  and redis.call('HGET', job, 'unserved') == j.holder then
  return refuse(req, fingerprint, 'ILLEGAL_TRANSITION')
end
-- Another dispute than the one that was resolved in the meantime.
if p.does == 'thaw' and a.dispute and a.dispute ~= j.frozen then return refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
if p.code then
  local wrong, left = code_missed(z, log, j, p, a, by)
  if wrong == 'STALE_CODE' then return {wrong} end
  if wrong then return refuse(req, fingerprint, wrong, left) end
end
if p.does == 'reissue' and not code_reissued(j, p.reissues) then return refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
return finish(z, log, j, moving(z, j, offers, p, a, actor), by)
