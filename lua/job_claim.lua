--[[ job_claim: one technician takes one offered job, or learns why not. `plan` is the command as declared, '' where it
has neither guards nor effects: then the words beside it say all.
KEYS    meta  job  offers  causes  tech  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  command  from  goal  type  told  tech_told  ended  grace_ms  lease_ms
OK      seq  version  job_id  job  contact
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  NOT_FOUND  OTHER_BLUEPRINT  CANCELLED  EXPIRED  TAKEN  ILLEGAL_TRANSITION  FROZEN  NOT_OFFERED  TOO_EARLY  AT_CAPACITY  VERSION_CONFLICT
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status
TOUCHES {z}:tech:*:jobs  {z}:user:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/repeat"
--- @include "lib/tech"
--- @include "lib/moving"
local meta, job, offers, causes, tech, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan, command, from, goal, type, told, tech_told, ended,
  grace_ms, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local by = {bp = bp, actor = 'technician:' .. technician, cause = key .. ':' .. fingerprint, trace = trace, req = req,
  fingerprint = fingerprint, causes = causes}
local j, again = begin(z, job, by)
if again then return again end
local t = tech_load(tech)
local why = unfit(t)
if why then return refuse(req, fingerprint, why) end
if not j then return refuse(req, fingerprint, 'NOT_FOUND') end
why = step_over(j, ended) or j.expires > 0 and over(z, j.expires + grace_ms, lease_ms) and 'EXPIRED'
if why then return refuse(req, fingerprint, why) end
local seq, version = string.match(j.claimed, '^(%d+) (%d+)$')
if j.holder == technician and seq then return as_it_was(req, fingerprint, seq, version, j.id) end
if j.holder ~= '' then return refuse(req, fingerprint, 'TAKEN') end
local p = plan ~= '' and cjson.decode(plan) or {command = command, by = 'offered', from = from, does = 'take', event = type,
  told = told, goal = goal, tech_told = tech_told ~= '' and tech_told or nil}
why = step_refused(z, j, p, nil, '')
if why and why ~= 'TOO_EARLY' then return refuse(req, fingerprint, why) end
local all = redis.call('HGETALL', offers)
local o = offer_among(all, technician)
if not o or not seeks(j) or o.status == 'rejected' or o.status == 'withdrawn' or o.status == 'left' then
  return refuse(req, fingerprint, 'NOT_OFFERED')
end
if o.status ~= 'sent' or over(z, o.expires + grace_ms, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end
if why or o.opens > z.now then return refuse(req, fingerprint, 'TOO_EARLY') end
if t.load >= t.capacity and j.begins <= z.now then return refuse(req, fingerprint, 'AT_CAPACITY') end
-- Last: its answer brings the job along, which only who was offered it may see.
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end
local done = finish(z, log, j, moving(z, j, offers, p, {offers = all}, by.actor, t), by)
done[7] = redis.call('HGET', job, 'contact') or ''
return done
