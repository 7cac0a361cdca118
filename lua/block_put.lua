--[[ block_put: two people who are not to meet at work, or may again. The offers that one of them holds of the other's
jobs are taken back.
KEYS    meta  mine  theirs  log
ARGV    epoch  one  other  blocked
OK      seq  version
ERR     STALE_EPOCH
EMITS   offer.closed
TOUCHES {z}:tech:*:offers  {z}:job:*  {z}:job:*:offers  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/closing"
--- @include "lib/withdrawing"
--- @include "lib/append"
local meta, mine, theirs, log = unpack(KEYS)
local epoch, one, other, blocked = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local verb, seq = blocked == '1' and 'SADD' or 'SREM', z.seq
redis.call(verb, mine, other)
redis.call(verb, theirs, one)
if blocked == '1' then
  for technician, customer in pairs({[one] = other, [other] = one}) do
    offers_withdraw(z, technician, function(j) return j.customer == customer end, function(j)
      append(z, log, offer_closed(j, {'user:' .. technician}, 'withdrawn', 'Offer withdrawn'))
    end)
  end
end
if z.seq > seq then leave(z) end
return {'OK', '0', z.seq > seq and z.seq or 0, 0}
