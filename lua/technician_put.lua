--[[ technician_put: what SQL knows of a technician reaches the hot record, once per profile version.
KEYS    meta  tech  seen  log
ARGV    epoch  id  profile  complete  kyc  account  capacity  services  name  phone  actor  told  review  offline_reason
        rating  rated  words
OK      seq  version  online
ERR     STALE_EPOCH
EMITS   technician.reviewed  technician.status  offer.closed  session.work
TOUCHES {z}:supply:*  {z}:due  {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  (same slot, names known only inside)
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
local epoch, id, profile, complete, kyc, account, capacity, services, name, phone, actor, told, review,
  offline_reason, rating, rated, words = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local known = redis.call('HMGET', tech, 'profile', 'online')
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
offers_withdraw(z, id, function(j) return not string.find(' ' .. services .. ' ', ' ' .. j.service .. ' ', 1, true) end,
  function(j) seq = append(z, log, offer_closed(j, {'user:' .. id}, 'withdrawn', 'Offer withdrawn', actor)) end)
if review ~= '' then
  seq = append(z, log, {type = 'technician.reviewed', to = told, actor = actor, data = review})
end
if works_sync(z, log, t, actor) > 0 or seq > 0 then leave(z) end
return {'OK', '0', seq, profile, t.online}
