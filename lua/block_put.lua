--[[ block_put: stores in both users' sets that one of them blocked the other (`blocked` is 1), or that the block ended.
A new block withdraws the open offers of one user's jobs to the other.
KEYS    meta  mine  theirs  log
ARGV    epoch  one  other  blocked
OK      seq  version
ERR     STALE_EPOCH
EMITS   offer.closed  session.job
TOUCHES {z}:tech:*:offers  {z}:job:*  {z}:job:*:offers  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/offer_closure"
--- @include "lib/offer_withdrawal"
--- @include "lib/zone"
local meta, mine, theirs, log = unpack(KEYS)
local epoch, one, other, blocked = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local verb, seq = blocked == '1' and 'SADD' or 'SREM', zone.seq
redis.call(verb, mine, other)
redis.call(verb, theirs, one)
if blocked == '1' then
  for technician, customer in pairs({[one] = other, [other] = one}) do
    OfferWithdrawal.withdraw(zone, technician, function(job) return job.customer == customer end, function(job)
      EventLog.append(zone, log, OfferClosure.event(job, {'user:' .. technician}, 'withdrawn', 'Offer withdrawn'))
    end)
  end
end
EventLog.record_jobs(zone)
if zone.seq > seq then EventLog.save_seq(zone) end
return {'OK', '0', zone.seq > seq and zone.seq or 0, 0}
