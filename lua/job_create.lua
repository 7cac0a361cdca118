--[[ job_create: a booking becomes a job on offer, once per request key and once per reference.
KEYS    meta  job  log  due  req  ref  jobs  user_jobs  demand
ARGV    epoch  id  actor  key  fingerprint  trace  reference  bp  status  phase  mode  service  customer  lat  lon  full  pub  expires_ms  told
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY
EMITS   job.created
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/job"
--- @include "lib/audience"
--- @include "lib/append"
local meta, job, log, due, req, ref, jobs, user_jobs, demand = unpack(KEYS)
local epoch, id, actor, key, fingerprint, trace, reference, bp, status, phase, mode, service, customer, lat, lon,
  full, pub, expires_ms, told = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local again = remembered(req, fingerprint)
if again then return again end
if reference ~= '' then
  local first = redis.call('HGET', ref, reference)
  if first then return {'OK', '1', '0', '0', first} end
end
local created = ',"created_at":' .. iso(z.now)
local j = {key = job, id = id, bp = bp, status = '', phase = phase, version = 0, customer = customer, holder = '',
  card = '', full = full .. created, pub = pub .. created, at = '', service = service, expires = 0,
  last = '', claimed = ''}
local now = job_move(z, j, status, phase)
if tonumber(expires_ms) > 0 then j.expires = z.now + tonumber(expires_ms) end
j.last = 'create ' .. actor .. ' ' .. string.format('%.0f', z.seq + 1)
redis.call('HSET', job, 'id', id, 'bp', bp, 'customer', customer, 'full', j.full, 'pub', j.pub, 'service', service,
  'lat', lat, 'lon', lon, 'mode', mode, 'wave', 0, 'created', z.now, 'reference', reference, 'owner', actor)
job_save(j)
redis.call('ZADD', jobs, z.now, id)
redis.call('ZADD', user_jobs, z.now, id)
if reference ~= '' then redis.call('HSET', ref, reference, id) end
if mode == 'broadcast' then
  redis.call('GEOADD', demand, lon, lat, id)
  redis.call('ZADD', due, z.now, 'wave:' .. id .. ':1')
end
if j.expires > 0 then redis.call('ZADD', due, j.expires, 'expire:' .. id) end
remember(req, fingerprint, z.seq + 1, j.version, id, 86400000)
local shown = job_full(j, now)
local seq = append(z, log, {type = 'job.created', to = audience(told, j), actor = actor, bp = bp,
  data = '{"job":' .. shown .. ',"changed":[]}', cause = key .. ':' .. fingerprint, trace = trace})
leave(z)
return {'OK', '0', seq, j.version, id, shown}
