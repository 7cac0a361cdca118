--[[ match_open: a late joiner is offered what is open already. Due work `match:<technician>`.
`asked` names the customers about whom the caller has asked, `held` the suspended ones of them. While a job would be
offered whose customer is not in `asked`, nothing is done and the reply's `customers` names who is to be asked about.
KEYS    meta  tech  due  log
ARGV    epoch  entry  reach_m  limit  asked  held
OK      seq  version  offered  customers
ERR     STALE_EPOCH
EMITS   offer.created
TOUCHES {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  {z}:demand:*  {z}:wide:*  {z}:user:*:blocks  (same slot, names known only inside)
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
local epoch, entry, reach_m, limit, asked, held = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local t = tech_load(tech)
if not t or t.lat == '' or t.online ~= '1' or t.load >= t.capacity then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, 0, ''}
end
local function named(list, id) return string.find(' ' .. list .. ' ', ' ' .. id .. ' ', 1, true) ~= nil end
local vague = vagueness(redis.call('HGET', tech, 'acc'))
local jobs, unknown = jobs_around(z, t, tonumber(reach_m), tonumber(limit)), ''
for _, j in ipairs(jobs) do
  j.far = metres(j.lat, j.lon, t.lat, t.lon)
  local new = not named(asked, j.customer) and not named(unknown, j.customer)
  if new and joins(z, j, t, j.far + vague) then unknown = unknown .. ' ' .. j.customer end
end
if unknown ~= '' then return {'OK', '0', 0, 0, 0, unknown} end

redis.call('ZREM', due, entry)
local offered, seq = 0, 0
for _, j in ipairs(jobs) do
  if not named(held, j.customer) and joins(z, j, t, j.far + vague) then
    -- Who comes late has no head start: he is one of those who may claim last, unless the customer prefers him.
    local opens = math.max(z.now, t.id ~= j.preferred and j.opens or 0)
    local expires = offer_end(j, opens, j.offer_ms)
    offer_make(z, j, j.key .. ':offers', t.id, j.wave, j.far, expires, opens)
    redis.call('HINCRBY', j.key, 'asked', 1)
    redis.call('ZADD', due, 'LT', expires + limits_parse(j.limits).grace, 'offers:' .. j.id .. ':' .. j.wave)
    if opens > z.now then redis.call('ZADD', due, opens, opening(j, j.wave, opens))
    else seq = append(z, log, offer_created(z, j, {'user:' .. t.id}, j.wave, expires)) end
    offered = offered + 1
  end
end
if seq > 0 then leave(z) end
return {'OK', '0', seq, 0, offered, ''}
