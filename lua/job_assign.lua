--[[ job_assign: ops (or the engine) name the technician who is to do the job, in place of the present one if any.
KEYS    meta  job  offers  causes  tech  log  req
ARGV    epoch  technician  actor  key  fingerprint  trace  if_version  bp  plan  args
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  INVALID  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  AT_CAPACITY
EMITS   job.*  offer.closed  bid.closed  technician.status
TOUCHES {z}:job:*:bids  {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  {z}:user:*:jobs  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/repeat"
--- @include "lib/goal"
--- @include "lib/job"
--- @include "lib/seeking"
--- @include "lib/supply"
--- @include "lib/freeing"
--- @include "lib/holder"
--- @include "lib/offers"
--- @include "lib/closed"
--- @include "lib/audience"
--- @include "lib/append"
--- @include "lib/relation"
--- @include "lib/told"
--- @include "lib/step"
--- @include "lib/codes"
--- @include "lib/assigning"
local meta, job, offers, causes, tech, log, req = unpack(KEYS)
local epoch, technician, actor, key, fingerprint, trace, if_version, bp, plan, args = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
-- Before all else: who may, and how he is answered, only the job's own blueprint says.
local j, p, a = job_load(job), cjson.decode(plan), cjson.decode(args)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
local again = remembered(req, fingerprint, causes, z, j)
if again then return again end
if not j or not related(j, actor, p.by) then return refuse(req, fingerprint, 'NOT_FOUND') end
local why = step_refused(j, p, actor, if_version)
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

local seq, shown = z.seq + 1, nil
j.last = p.command .. ' ' .. actor .. ' ' .. string.format('%.0f', seq)
for _, event in ipairs(assigning(z, j, offers, t, p, a, actor)) do
  event.bp, event.actor, event.cause, event.trace = bp, actor, key .. ':' .. fingerprint, trace
  append(z, log, event)
  shown = shown or event.shown
end
remember(req, fingerprint, seq, j.version, j.id, 600000, causes)
leave(z)
return {'OK', '0', seq, j.version, j.id, shown}
