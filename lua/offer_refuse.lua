--[[ offer_refuse: the technician who was asked says no, and the job moves on: back on offer, or to its end.
KEYS    meta  job  offers  causes  tech_offers  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  args  lease_ms
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  NOT_OFFERED
EMITS   job.*  offer.closed
TOUCHES {z}:demand:*  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/goal"
--- @include "lib/job"
--- @include "lib/public"
--- @include "lib/seeking"
--- @include "lib/offers"
--- @include "lib/closing"
--- @include "lib/audience"
--- @include "lib/append"
--- @include "lib/told"
--- @include "lib/relation"
--- @include "lib/step"
local meta, job, offers, causes, tech_offers, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan, args, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
-- Before all else: who may, and how he is answered, only the job's own blueprint says.
local j, p, a = job_load(job), cjson.decode(plan), cjson.decode(args)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
local again = remembered(req, fingerprint, causes, z, j)
if again then return again end
local mine = j and redis.call('HGET', offers, technician)
if not mine then return refuse(req, fingerprint, 'NOT_FOUND') end
local o, actor = offer_parse(mine), 'technician:' .. technician
if o.status == 'rejected' then return {'OK', '1', 0, j.version, j.id, job_public(j)} end
if j.status == 'cancelled' then return refuse(req, fingerprint, 'CANCELLED') end
if j.status == 'expired' then return refuse(req, fingerprint, 'EXPIRED') end
local why = step_refused(j, p, nil, if_version)
if why then return refuse(req, fingerprint, why) end
if o.status ~= 'sent' then return refuse(req, fingerprint, 'NOT_OFFERED') end
if over(z, o.expires, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end

local was, goal, seq = j.status, goal_parse(p.goal), z.seq + 1
o.status = 'rejected'
offer_write(offers, technician, o)
redis.call('ZREM', tech_offers, j.id)
local told = offers_open(z, redis.call('HGETALL', offers), technician)
seeking_ends(z, j, j.mode)
local now = job_move(z, j, goal)
if seeks(j) then seeking_again(z, j, offers, goal.life) end
j.last = p.command .. ' ' .. actor .. ' ' .. string.format('%.0f', seq)
job_save(j)
remember(req, fingerprint, seq, j.version, j.id, 600000, causes)
append(z, log, {type = p.event, to = audience(p.told, j), bp = bp, actor = actor, trace = trace,
  cause = key .. ':' .. fingerprint, data = '{"job":' .. job_full(j, now) .. step_told(j, was, p, a, actor) .. '}'})
if #told > 0 then append(z, log, offers_over(j, told, p.closing)) end
leave(z)
return {'OK', '0', seq, j.version, j.id, job_public(j)}
