--[[ offer_decline: a technician does not want an offered job; it stays open to the others. `plan` as for a claim: '' where
the command has no guards.
KEYS    meta  job  offers  causes  tech_offers  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  from  told  ended  reason  lease_ms
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  CANCELLED  EXPIRED  TAKEN  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  NOT_OFFERED  VERSION_CONFLICT
EMITS   offer.declined
TOUCHES {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/begin"
--- @include "lib/public"
--- @include "lib/offers"
--- @include "lib/closing"
--- @include "lib/audience"
--- @include "lib/relation"
--- @include "lib/step"
local meta, job, offers, causes, tech_offers, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan, from, told, ended, reason,
  lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local by = {bp = bp, actor = 'technician:' .. technician, cause = key .. ':' .. fingerprint, trace = trace, req = req,
  fingerprint = fingerprint, causes = causes}
local j, again = begin(z, job, by)
if again then return again end
if not j then return refuse(req, fingerprint, 'NOT_FOUND') end
local mine = redis.call('HGET', offers, technician)
local o = mine and offer_parse(mine)
if o and o.status == 'rejected' then return {'OK', '1', 0, j.version, j.id, job_public(j)} end
local why = step_over(j, ended)
if why then return refuse(req, fingerprint, why) end
if j.holder ~= '' then return refuse(req, fingerprint, 'TAKEN') end
why = step_refused(z, j, plan ~= '' and cjson.decode(plan) or {by = 'offered', from = from}, nil, '')
if why then return refuse(req, fingerprint, why) end
if not o or not seeks(j) or o.status == 'withdrawn' or o.status == 'left' then return refuse(req, fingerprint, 'NOT_OFFERED') end
if o.status ~= 'sent' or over(z, o.expires, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end

o.status = 'rejected'
offer_write(offers, technician, o)
redis.call('ZREM', tech_offers, j.id)
redis.call('HINCRBY', job, 'declined', 1)
wave_hasten(z, j, offers)
local shown = job_public(j) -- in the event too: a repeat is answered from it
return finish(z, log, j, {{type = 'offer.declined', to = audience(told, j), shown = shown,
  data = '{"job":' .. shown .. ',"technician":{"id":"' .. technician .. '"}' ..
    (reason ~= '' and ',"reason":' .. reason or '') .. '}'}}, by)
