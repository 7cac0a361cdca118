--[[ match_open: a late joiner is offered what is open already. Due work `match:<technician>`.
KEYS    meta  tech  due  log
ARGV    epoch  entry  reach_m  limit
OK      seq  version  offered
ERR     STALE_EPOCH
EMITS   offer.created
TOUCHES {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  {z}:demand:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/geo"
--- @include "lib/candidates"
--- @include "lib/offering"
--- @include "lib/append"
local meta, tech, due, log = unpack(KEYS)
local epoch, entry, reach_m, limit = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
redis.call('ZREM', due, entry)
local t = tech_load(tech)
if not t or t.lat == '' or t.online ~= '1' or t.load >= t.capacity then return {'OK', '0', 0, 0, 0} end
local looked, offered, seq = 0, 0, 0
for service in string.gmatch(t.services, '%S+') do
  local near = redis.call('GEOSEARCH', z.tag .. 'demand:' .. service, 'FROMLONLAT', t.lon, t.lat,
    'BYRADIUS', reach_m, 'm', 'COUNT', limit, 'ANY', 'ASC')
  for _, id in ipairs(near) do
    if looked >= tonumber(limit) then break end
    looked = looked + 1
    local j = job_load(z.tag .. 'job:' .. id)
    if j then job_load_search(j) end
    local wave, radius = j and j.wave or 0, j and j.radius or 0
    local far = j and metres(j.lat, j.lon, t.lat, t.lon) or 0
    -- Only what the job's present wave would offer him: inside its radius, not asked, fit for it.
    if j and wave > 0 and j.phase == 'open' and j.holder == '' and (radius == 0 or far <= radius)
      and not why_out(z, j, t) and not asked_already(redis.call('HGET', j.key .. ':offers', t.id)) then
      local expires = offer_end(z, j, j.offer_ms)
      offer_make(z, j, j.key .. ':offers', t.id, wave, far, expires)
      redis.call('HINCRBY', j.key, 'asked', 1)
      redis.call('ZADD', due, 'NX', expires, 'offers:' .. id .. ':' .. wave)
      seq = append(z, log, offer_created(z, j, {'user:' .. t.id}, wave, expires))
      offered = offered + 1
    end
  end
end
if offered > 0 then leave(z) end
return {'OK', '0', seq, 0, offered}
