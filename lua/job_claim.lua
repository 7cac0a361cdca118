--[[ job_claim: one technician takes one offered job, or learns why not.
KEYS    meta  job  offers  causes  tech  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  command  from  goal  type  told  tech_told  grace_ms  lease_ms
OK      seq  version  job_id  job  contact
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  NOT_FOUND  OTHER_BLUEPRINT  CANCELLED  EXPIRED  TAKEN  ILLEGAL_TRANSITION  NOT_OFFERED  TOO_EARLY  AT_CAPACITY  VERSION_CONFLICT
EMITS   job.*  offer.closed  technician.status
TOUCHES {z}:tech:*:jobs  {z}:user:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/repeat"
--- @include "lib/goal"
--- @include "lib/job"
--- @include "lib/seeking"
--- @include "lib/tech"
--- @include "lib/holder"
--- @include "lib/offers"
--- @include "lib/closed"
--- @include "lib/told"
--- @include "lib/audience"
--- @include "lib/append"
local meta, job, offers, causes, tech, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, command, from, goal, type, told, tech_told, grace_ms,
  lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
-- Before all else: who may, and how he is answered, only the job's own blueprint says.
local j = job_load(job)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
local again = remembered(req, fingerprint, causes, z, j)
if again then return again end
local t = tech_load(tech)
local why = unfit(t)
if why then return refuse(req, fingerprint, why) end
if not j then return refuse(req, fingerprint, 'NOT_FOUND') end
if j.status == 'cancelled' then return refuse(req, fingerprint, 'CANCELLED') end
if j.status == 'expired' or (j.expires > 0 and over(z, j.expires + grace_ms, lease_ms)) then
  return refuse(req, fingerprint, 'EXPIRED')
end
local seq, version = string.match(j.claimed, '^(%d+) (%d+)$')
if j.holder == technician and seq then return as_it_was(req, fingerprint, seq, version, j.id) end
if j.holder ~= '' then return refuse(req, fingerprint, 'TAKEN') end
if not string.find(from, ' ' .. j.status .. ' ', 1, true) then
  return refuse(req, fingerprint, 'ILLEGAL_TRANSITION')
end
local all = redis.call('HGETALL', offers)
local o = offer_among(all, technician)
if not o or o.status == 'rejected' or o.status == 'withdrawn' or o.status == 'left' then return refuse(req, fingerprint, 'NOT_OFFERED') end
if o.status ~= 'sent' or over(z, o.expires + grace_ms, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end
if o.opens > z.now then return refuse(req, fingerprint, 'TOO_EARLY') end
if t.load >= t.capacity and j.begins <= z.now then return refuse(req, fingerprint, 'AT_CAPACITY') end
-- Last: its answer brings the job along, which only who was offered it may see.
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end

local was, mode = j.status, j.mode
holder_take(z, j, t)
local now = job_move(z, j, goal_parse(goal))
j.claimed = string.format('%.0f %.0f', z.seq + 1, j.version)
j.last = 'claim ' .. technician .. ' ' .. string.format('%.0f', z.seq + 1)
job_save(j)
local losers = offers_open(z, all, technician)
seeking_ends(z, j, mode)
remember(req, fingerprint, z.seq + 1, j.version, j.id, 600000, causes)
local shown, actor, cause = job_full(j, now), 'technician:' .. technician, key .. ':' .. fingerprint
seq = append(z, log, {type = type, to = audience(told, j), actor = actor, bp = bp, cause = cause,
  data = '{"job":' .. shown .. ',"technician":' .. j.card .. ',"from":"' .. was ..
    '","to":"' .. j.status .. '","command":"' .. command .. '"}', trace = trace})
if #losers > 0 then append(z, log, offer_closed(j, losers, 'taken', 'Booking already taken', actor, cause)) end
if tech_told ~= '' then append(z, log, tech_moved(j, technician, 'assigned', tech_told)) end
leave(z)
return {'OK', '0', seq, j.version, j.id, shown, redis.call('HGET', job, 'contact') or ''}
