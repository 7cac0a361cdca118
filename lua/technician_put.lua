--[[ technician_put: copies a technician's profile from SQL to the record in Redis, once per version of the profile.
KEYS    meta  tech  seen  log
ARGV    epoch  id  profile  complete  kyc  account  capacity  services  name  phone  actor  offline_reason
        rating  rated  audience  accepted  asked  free_at
OK      seq  version  online
ERR     STALE_EPOCH
EMITS   technician.status  offer.closed  session.work  session.job
TOUCHES {z}:supply:*  {z}:summaries  {z}:due  {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  {z}:tech:*:jobs  {z}:open:*  {z}:people  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/job_fields"
--- @include "lib/offer_closure"
--- @include "lib/offer_withdrawal"
--- @include "lib/presence"
--- @include "lib/supply"
--- @include "lib/tech"
--- @include "lib/work_feed"
--- @include "lib/zone"
local meta, tech_key, seen, log = unpack(KEYS)
local epoch, id, profile, complete, kyc, account, capacity, services, name, phone, actor,
  offline_reason, rating, rated, audience, accepted, asked, free_at = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local function serves(had, service) return string.find(' ' .. had .. ' ', ' ' .. service .. ' ', 1, true) ~= nil end

-- Updates jobs that the technician was assigned and has not accepted. They cannot accept a job for a service that they
-- no longer provide (`unserved`, see job_step), until they provide the service again. A job that ops assigned by
-- `force` although the technician lacked the service is not affected.
local function update_assigned_jobs(zone, had)
  for _, each in ipairs(redis.call('SMEMBERS', tech_key .. ':jobs')) do
    local job_key = zone.tag .. 'job:' .. each
    local row = redis.call('HMGET', job_key, 'unaccepted', 'service')
    if row[1] == '1' and serves(services, row[2]) then JobFields.remove(job_key, 'unserved')
    elseif row[1] == '1' and serves(had, row[2]) then JobFields.set(job_key, 'unserved', id) end
  end
end

local known = redis.call('HMGET', tech_key, 'profile', 'online', 'services')
if known[1] and tonumber(known[1]) >= tonumber(profile) then
  return {'OK', '1', zone.seq, known[1], known[2] or ''}
end
-- The record may be new. The summary follows below, with the place in the supply index.
Supply.write(zone, {key = tech_key, indexed = ''}, 'id', id, 'profile', profile, 'complete', complete, 'kyc', kyc,
  'account', account, 'capacity', capacity, 'services', services, 'name', name, 'phone', phone, 'rating', rating,
  'rated', rated)
redis.call('HSETNX', tech_key, 'load', 0)
-- A technician who returns to this zone continues with the numbers that SQL has counted.
for field, number in pairs({accepted = accepted, asked = asked, free_at = free_at}) do
  if not known[1] and number ~= '0' then redis.call('HSET', tech_key, field, number) end
end
local tech, seq = Tech.load(tech_key), 0
if tech.online == '1' and Tech.refusal(tech) then
  seq = Presence.go_offline(zone, tech, seen, log, {reason = offline_reason, actor = actor, audience = audience})
elseif tech.online == '1' then
  Supply.sync(zone, tech, true)
end
-- Offers for services that they no longer provide are closed; the offers of an offline technician are closed already.
if known[3] and known[3] ~= services then update_assigned_jobs(zone, known[3]) end
OfferWithdrawal.withdraw(zone, id, function(job) return not serves(services, job.service) end,
  function(job)
    seq = EventLog.append(zone, log, OfferClosure.event(job, {'user:' .. id}, 'withdrawn', 'Offer withdrawn', actor))
  end)
local appended = WorkFeed.sync(zone, log, tech, actor) > 0 or seq > 0
EventLog.record_jobs(zone)
if appended then EventLog.save_seq(zone) end
return {'OK', '0', seq, profile, tech.online}
