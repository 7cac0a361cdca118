--[[ technician_put: what SQL knows of a technician reaches the hot record, once per profile version.
KEYS    meta  tech  seen  log
ARGV    epoch  id  profile  complete  kyc  account  capacity  services  name  phone  actor  offline_reason
        rating  rated  words
OK      seq  version  online
ERR     STALE_EPOCH
EMITS   technician.status  offer.closed  session.work
TOUCHES {z}:supply:*  {z}:due  {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  {z}:tech:*:jobs  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/supply"
--- @include "lib/offers"
--- @include "lib/closing"
--- @include "lib/append"
--- @include "lib/offline"
--- @include "lib/works"
local meta, tech, seen, log = unpack(KEYS)
local epoch, id, profile, complete, kyc, account, capacity, services, name, phone, actor,
  offline_reason, rating, rated, words = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local function serves(had, service) return string.find(' ' .. had .. ' ', ' ' .. service .. ' ', 1, true) ~= nil end

-- Jobs that they were given and have not accepted: one for a service that they no longer have they cannot accept
-- (`unserved`, see job_step), until they have it again. What was forced on them was never theirs by a service.
local function skills_changed(z, had)
  for _, each in ipairs(redis.call('SMEMBERS', tech .. ':jobs')) do
    local job = z.tag .. 'job:' .. each
    local v = redis.call('HMGET', job, 'unaccepted', 'service')
    if v[1] == '1' and serves(services, v[2]) then redis.call('HDEL', job, 'unserved')
    elseif v[1] == '1' and serves(had, v[2]) then redis.call('HSET', job, 'unserved', id) end
  end
end

local known = redis.call('HMGET', tech, 'profile', 'online', 'services')
if known[1] and tonumber(known[1]) >= tonumber(profile) then
  return {'OK', '1', 0, known[1], known[2] or ''}
end
redis.call('HSET', tech, 'id', id, 'profile', profile, 'complete', complete, 'kyc', kyc, 'account', account,
  'capacity', capacity, 'services', services, 'name', name, 'phone', phone,
  'rating', rating, 'rated', rated)
redis.call('HSETNX', tech, 'load', 0)
local t, seq = tech_load(tech), 0
if t.online == '1' and unfit(t) then
  seq = go_offline(z, t, seen, log, {reason = offline_reason, actor = actor, words = words})
elseif t.online == '1' and supply_sync(z, t) then
  match_soon(z, t)
end
-- Offers of what they no longer do are closed; those of whoever is offline are closed already.
if known[3] and known[3] ~= services then skills_changed(z, known[3]) end
offers_withdraw(z, id, function(j) return not serves(services, j.service) end,
  function(j) seq = append(z, log, offer_closed(j, {'user:' .. id}, 'withdrawn', 'Offer withdrawn', actor)) end)
if works_sync(z, log, t, actor) > 0 or seq > 0 then leave(z) end
return {'OK', '0', seq, profile, t.online}
