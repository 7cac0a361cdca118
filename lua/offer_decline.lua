--[[ offer_decline: a technician does not want an offered job; it stays open to the others.
KEYS    meta  job  offers  causes  tech_offers  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  told  reason  lease_ms
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  CANCELLED  EXPIRED  TAKEN  NOT_OFFERED  VERSION_CONFLICT
EMITS   offer.declined
TOUCHES {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/job"
--- @include "lib/public"
--- @include "lib/offers"
--- @include "lib/closing"
--- @include "lib/audience"
--- @include "lib/append"
local meta, job, offers, causes, tech_offers, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, told, reason, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
-- Before all else: who may, and how he is answered, only the job's own blueprint says.
local j = job_load(job)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
local again = remembered(req, fingerprint, causes, z, j)
if again then return again end
if not j then return refuse(req, fingerprint, 'NOT_FOUND') end
local mine = redis.call('HGET', offers, technician)
local o = mine and offer_parse(mine)
if o and o.status == 'rejected' then return {'OK', '1', 0, j.version, j.id, job_public(j)} end
if j.status == 'cancelled' then return refuse(req, fingerprint, 'CANCELLED') end
if j.status == 'expired' then return refuse(req, fingerprint, 'EXPIRED') end
if j.holder ~= '' then return refuse(req, fingerprint, 'TAKEN') end
if not o or o.status == 'withdrawn' or o.status == 'left' then return refuse(req, fingerprint, 'NOT_OFFERED') end
if o.status ~= 'sent' or over(z, o.expires, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end

o.status = 'rejected'
offer_write(offers, technician, o)
redis.call('ZREM', tech_offers, j.id)
redis.call('HINCRBY', job, 'declined', 1)
wave_hasten(z, j, offers)
remember(req, fingerprint, z.seq + 1, j.version, j.id, 600000, causes)
local shown = job_public(j) -- in the event too: a repeat is answered from it
local seq = append(z, log, {type = 'offer.declined', to = audience(told, j), bp = j.bp, trace = trace,
  actor = 'technician:' .. technician, cause = key .. ':' .. fingerprint,
  data = '{"job":' .. shown .. ',"technician":{"id":"' .. technician .. '"}' ..
    (reason ~= '' and ',"reason":' .. reason or '') .. '}'})
leave(z)
return {'OK', '0', seq, j.version, j.id, shown}
