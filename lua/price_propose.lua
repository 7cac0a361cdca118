--[[ price_propose: one side of a job proposes another price to the other; one proposal is open at a time.
KEYS    meta  job  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  id  amount  reason  states  told
OK      seq  version  job_id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  FROZEN  PRICE_LOCKED  ILLEGAL_TRANSITION  DUPLICATE  VERSION_CONFLICT
EMITS   price.proposed
]]
--- @include "lib/enter"
--- @include "lib/begin"
--- @include "lib/relation"
--- @include "lib/proposal"
--- @include "lib/audience"
local meta, job, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, id, amount, reason, states, told = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j, again = begin(z, job, {bp = bp, req = req, fingerprint = fingerprint, causes = causes})
if again then return again end
if not j or not related(j, actor, 'customer holder') then return refuse(req, fingerprint, 'NOT_FOUND') end
local why = price_refused(j, states)
if why then return refuse(req, fingerprint, why) end
if proposal_open(j, proposal_load(j)) then return refuse(req, fingerprint, 'DUPLICATE') end
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end

local p = {status = 'open', id = id, amount = amount, by = actor, holder = j.holder, created = iso(z.now), reason = reason}
proposal_save(j, p)
remember(req, fingerprint, z.seq + 1, j.version, j.id, 86400000, causes)
local seq = append(z, log, {type = 'price.proposed', to = audience(told, j), actor = actor, bp = bp, trace = trace,
  cause = key .. ':' .. fingerprint, data = '{"job":' .. job_full(j) .. ',"proposal":' .. proposal_shown(p) .. '}'})
leave(z)
return {'OK', '0', seq, j.version, j.id}
