--[[ job_advance: one step of a job's blueprint, by its holder, its customer, ops or a service.
KEYS    meta  job  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  command  by  from  to  phase  type  told  reason
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  VERSION_CONFLICT
EMITS   job.status
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/repeat"
--- @include "lib/job"
--- @include "lib/supply"
--- @include "lib/freeing"
--- @include "lib/offers"
--- @include "lib/audience"
--- @include "lib/append"
--- @include "lib/relation"
local meta, job, causes, log, req = unpack(KEYS)
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
  return refuse(req, fingerprint, 'ILLEGAL_TRANSITION')
end
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end

local was, was_open = j.status, j.phase == 'open'
local now = job_move(z, j, to, phase)
j.last = command .. ' ' .. actor .. ' ' .. string.format('%.0f', z.seq + 1)
job_save(j)
if was_open and j.phase ~= 'open' then offering_ends(z, j) end
if (phase == 'done' or phase == 'closed') and j.holder ~= '' then holder_free(z, j) end
remember(req, fingerprint, z.seq + 1, j.version, j.id, 600000, causes)
local shown = job_full(j, now)
local role, id = string.match(actor, '^([^:]*):(.*)$')
local seq = append(z, log, {type = type, to = audience(told, j), actor = actor, bp = bp, trace = trace,
  cause = key .. ':' .. fingerprint,
  data = '{"job":' .. shown .. ',"from":"' .. was .. '","to":"' .. j.status .. '","command":"' .. command ..
    '","actor":{"id":"' .. id .. '","role":"' .. role .. '"}' ..
    (reason ~= '' and ',"reason":' .. reason or '') .. '}'})
leave(z)
return {'OK', '0', seq, j.version, j.id, shown}
