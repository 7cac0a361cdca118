--[[ price_answer: the other side of a job accepts the proposed price, which then is the job's, or rejects it.
KEYS    meta  job  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  id  answer  states  told
OK      seq  version  job_id
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  FORBIDDEN  FROZEN  PRICE_LOCKED  ILLEGAL_TRANSITION  VERSION_CONFLICT
EMITS   price.changed  price.rejected
]]
--- @include "lib/enter"
--- @include "lib/repeat"
--- @include "lib/begin"
--- @include "lib/relation"
--- @include "lib/proposal"
--- @include "lib/audience"
local meta, job, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, id, answer, states, told = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j, again = begin(z, job, {bp = bp, req = req, fingerprint = fingerprint, causes = causes})
if again then return again end
if not j or not related(j, actor, 'customer holder') then return refuse(req, fingerprint, 'NOT_FOUND') end
local p = proposal_load(j)
if not p or p.id ~= id then return refuse(req, fingerprint, 'NOT_FOUND') end
if p.by == actor then return refuse(req, fingerprint, 'FORBIDDEN') end
if p.status == answer then
  return as_it_was(req, fingerprint, redis.call('HGET', job, 'answered'), j.version, j.id)
end
local why = price_refused(j, states)
if why then return refuse(req, fingerprint, why) end
if not proposal_open(j, p) then return refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end

local seq, kind = z.seq + 1, 'price.rejected'
p.status = answer
proposal_save(j, p)
redis.call('HSET', job, 'answered', seq)
if answer == 'accepted' then
  kind, j.amount = 'price.changed', p.amount
  redis.call('HSET', job, 'amount', j.amount)
  job_move(z, j, nil)
  j.last = 'price ' .. actor .. ' ' .. string.format('%.0f', seq)
  job_save(j)
end
remember(req, fingerprint, seq, j.version, j.id, 86400000, causes)
local role, who = string.match(actor, '^([^:]*):(.*)$')
append(z, log, {type = kind, to = audience(told, j), actor = actor, bp = bp, trace = trace,
  cause = key .. ':' .. fingerprint, data = '{"job":' .. job_full(j) .. ',"proposal":' .. proposal_shown(p) ..
    ',"actor":{"id":"' .. who .. '","role":"' .. role .. '"}}'})
leave(z)
return {'OK', '0', seq, j.version, j.id}
