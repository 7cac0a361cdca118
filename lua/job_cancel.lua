--[[ job_cancel: the job ends before its time; its holder and all who held an offer are told.
KEYS    meta  job  offers  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  command  by  from  to  phase  type  told  reason
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  CANCELLED  EXPIRED  ILLEGAL_TRANSITION  VERSION_CONFLICT
EMITS   job.cancelled  offer.closed
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/repeat"
--- @include "lib/job"
--- @include "lib/supply"
--- @include "lib/freeing"
--- @include "lib/offers"
--- @include "lib/closed"
--- @include "lib/audience"
--- @include "lib/append"
--- @include "lib/relation"
local meta, job, offers, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, command, by, from, to, phase, type, told, reason =
  unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
-- Before all else: who may, and how he is answered, only the job's own blueprint says.
local j = job_load(job)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
local again = remembered(req, fingerprint, causes)
if again then return again end
if not j or not related(j, actor, by) then return refuse(req, fingerprint, 'NOT_FOUND') end
if string.find(j.last, command .. ' ' .. actor .. ' ', 1, true) == 1 then
  return as_it_was(req, fingerprint, string.match(j.last, '(%d+)$'), j.version, j.id)
end
if not string.find(from, ' ' .. j.status .. ' ', 1, true) then
  local word = j.status == 'cancelled' and 'CANCELLED' or j.status == 'expired' and 'EXPIRED' or 'ILLEGAL_TRANSITION'
  return refuse(req, fingerprint, word)
end
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end

local was = j.status
local now = job_move(z, j, to, phase)
j.last = command .. ' ' .. actor .. ' ' .. string.format('%.0f', z.seq + 1)
job_save(j)
offering_ends(z, j)
local asked = j.holder == '' and offers_open(offers, '') or {}
if j.holder ~= '' then holder_free(z, j) end
remember(req, fingerprint, z.seq + 1, j.version, j.id, 600000, causes)
local shown, cause = job_full(j, now), key .. ':' .. fingerprint
local role, id = string.match(actor, '^([^:]*):(.*)$')
local seq = append(z, log, {type = type, to = audience(told, j), actor = actor, bp = bp, cause = cause, trace = trace,
  data = '{"job":' .. shown .. ',"actor":{"id":"' .. id .. '","role":"' .. role .. '"},"from":"' .. was ..
    '","to":"' .. j.status .. '"' .. (reason ~= '' and ',"reason":' .. reason or '') .. '}'})
if #asked > 0 then append(z, log, offer_closed(j, asked, 'cancelled', 'Booking cancelled', actor, cause)) end
leave(z)
return {'OK', '0', seq, j.version, j.id, shown}
