--[[ offer_refuse: the technician who was asked says no, and the job moves on: back on offer, or to its end.
KEYS    meta  job  offers  causes  tech_offers  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  args  lease_ms
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  NOT_OFFERED  TAKEN
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status
TOUCHES {z}:demand:*  {z}:due  {z}:tech:*  {z}:user:*:jobs  {z}:supply:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/public"
--- @include "lib/closing"
--- @include "lib/moving"
local meta, job, offers, causes, tech_offers, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan, args, lease_ms = unpack(ARGV)
local z, actor = enter(meta, epoch), 'technician:' .. technician
if not z then return {'STALE_EPOCH'} end
local p, a, by = cjson.decode(plan), cjson.decode(args), {bp = bp, actor = actor, cause = key .. ':' .. fingerprint,
  trace = trace, req = req, fingerprint = fingerprint, causes = causes}
local j, again = begin(z, job, by)
if again then return again end
local mine = j and redis.call('HGET', offers, technician)
if not mine then return refuse(req, fingerprint, 'NOT_FOUND') end
local o = offer_parse(mine)
if o.status == 'rejected' then return {'OK', '1', 0, j.version, j.id, job_public(j)} end
local why = step_over(j, p.over) or step_refused(z, j, p, nil, '')
if why then return refuse(req, fingerprint, why) end
if j.holder ~= '' then return refuse(req, fingerprint, 'TAKEN') end
if o.status ~= 'sent' or not seeks(j) then return refuse(req, fingerprint, 'NOT_OFFERED') end
if over(z, o.expires, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end

o.status = 'rejected'
offer_write(offers, technician, o)
redis.call('ZREM', tech_offers, j.id)
local done = finish(z, log, j, moving(z, j, offers, p, a, actor), by)
done[6] = job_public(j) -- he is not its technician
return done
