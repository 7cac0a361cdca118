--[[ job_create: a booking becomes a job, once per request key and once per reference, which keeps the fingerprint of
what was asked under it: the same again is given the first job, another is DUPLICATE. It is on offer from `release` on
(ms, 0: now); who is `named` is asked at once, who is `preferred` before others.
KEYS    meta  job  offers  log  req  ref  jobs  user_jobs
ARGV    epoch  id  actor  key  fingerprint  trace  reference  bp  goal  service  customer  lat  lon  amount  full  pub  release  scheduled  named  preferred  told  contact
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  INVALID  DUPLICATE
EMITS   job.created  offer.created
TOUCHES {z}:due  {z}:demand:*  {z}:tech:*  {z}:tech:*:offers  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/goal"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/seeking"
--- @include "lib/offering"
--- @include "lib/audience"
--- @include "lib/append"
local meta, job, offers, log, req, ref, jobs, user_jobs = unpack(KEYS)
local epoch, id, actor, key, fingerprint, trace, reference, bp, goal, service, customer, lat, lon, amount, full, pub,
  release, scheduled, named, preferred, told, contact = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local again = remembered(req, fingerprint)
if again then return again end
if reference ~= '' then
  local first = redis.call('HGET', ref, reference)
  local known, mark = string.match(first or '', '^(%S+) ?(%S*)$')
  if known and mark ~= '' and mark ~= fingerprint then return {'DUPLICATE', '0', known} end
  if known then return {'OK', '1', '0', '0', known} end
end
if named ~= '' then
  local t = tech_load(z.tag .. 'tech:' .. named)
  local why = unfit(t)
  if why then return refuse(req, fingerprint, why) end
  if not string.find(' ' .. t.services .. ' ', ' ' .. service .. ' ', 1, true)
    or redis.call('SISMEMBER', z.tag .. 'user:' .. customer .. ':blocks', named) == 1 then
    return refuse(req, fingerprint, 'INVALID')
  end
end
local created, first = ',"created_at":' .. iso(z.now), goal_parse(goal)
local j = {key = job, id = id, bp = bp, status = '', phase = '', version = 0, customer = customer, holder = '',
  card = '', full = full .. created, pub = pub .. created, at = '', service = service, expires = 0, wave = 0,
  unaccepted = '', last = '', claimed = '', amount = amount, mode = 'none', frozen = '',
  paid = '0', refunded = '0', back = '0'}
redis.call('HSET', job, 'id', id, 'bp', bp, 'customer', customer, 'full', j.full, 'pub', j.pub, 'service', service,
  'lat', lat, 'lon', lon, 'wave', 0, 'amount', amount, 'frozen', '', 'created', z.now, 'reference', reference, 'owner', actor,
  'preferred', preferred, 'contact', contact,
  'scheduled', scheduled, 'begins', release)
local now = job_move(z, j, first)
if seeks(j) then seeking_begins(z, j, math.max(z.now, tonumber(release)), first.life) end
j.last = 'create ' .. actor .. ' ' .. string.format('%.0f', z.seq + 1)
job_save(j)
redis.call('ZADD', jobs, z.now, id)
redis.call('ZADD', user_jobs, z.now, id)
if reference ~= '' then redis.call('HSET', ref, reference, id .. ' ' .. fingerprint) end
remember(req, fingerprint, z.seq + 1, j.version, id, 86400000)
local shown, cause = job_full(j, now), key .. ':' .. fingerprint
local seq = append(z, log, {type = 'job.created', to = audience(told, j), actor = actor, bp = bp, cause = cause,
  trace = trace, data = '{"job":' .. shown .. ',"changed":[]}', apart = apart(j, told, ',"changed":[]')})
if named ~= '' then
  local ends = j.expires > 0 and j.expires or z.now + 315360000000 -- no lifetime: ten years
  offer_make(z, j, offers, named, 0, 0, ends)
  append(z, log, offer_created(z, j, {'user:' .. named}, 0, ends))
end
leave(z)
return {'OK', '0', seq, j.version, id, shown}
