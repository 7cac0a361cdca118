--[[ match_open: a late joiner is offered what is open already. Due work `match:<technician>`.
KEYS    meta  tech  due  log
ARGV    epoch  entry  reach_m  limit
OK      seq  version  offered
ERR     STALE_EPOCH
EMITS   offer.created
TOUCHES {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  {z}:demand:*  {z}:wide:*  {z}:user:*:blocks  {z}:user:*:held  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/geo"
--- @include "lib/candidates"
--- @include "lib/joining"
--- @include "lib/offering"
--- @include "lib/append"
local meta, tech, due, log = unpack(KEYS)
local epoch, entry, reach_m, limit = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
redis.call('ZREM', due, entry)
local t = tech_load(tech)
if not t or t.lat == '' or t.online ~= '1' or t.load >= t.capacity then return {'OK', '0', 0, 0, 0} end
local offered, seq, vague = 0, 0, vagueness(redis.call('HGET', tech, 'acc'))
for _, j in ipairs(jobs_around(z, t, tonumber(reach_m), tonumber(limit))) do
  local far = metres(j.lat, j.lon, t.lat, t.lon)
  if joins(z, j, t, far + vague) then
    -- Who comes late has no head start: he is one of those who may claim last, unless the customer prefers him.
    local opens = math.max(z.now, t.id ~= j.preferred and j.opens or 0)
    local expires = offer_end(j, opens, j.offer_ms)
    offer_make(z, j, j.key .. ':offers', t.id, j.wave, far, expires, opens)
    redis.call('HINCRBY', j.key, 'asked', 1)
    redis.call('ZADD', due, 'LT', expires + limits_parse(j.limits).grace, 'offers:' .. j.id .. ':' .. j.wave)
    if opens > z.now then redis.call('ZADD', due, opens, opening(j, j.wave, opens))
    else seq = append(z, log, offer_created(z, j, {'user:' .. t.id}, j.wave, expires)) end
    offered = offered + 1
  end
end
if seq > 0 then leave(z) end
return {'OK', '0', seq, 0, offered}
