--[[ bid_accept: the customer accepts a bid: its technician is the holder, its amount the price of a flat job, and all
other bids are declined.
KEYS    meta  job  offers  causes  bids  log  req
ARGV    epoch  bid  actor  key  fingerprint  trace  if_version  bp  plan  told  grace_ms  lease_ms
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  INVALID  AT_CAPACITY
EMITS   job.*  bid.accepted  bid.closed  offer.closed  payment.requested  technician.status
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  {z}:user:*:jobs  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/repeat"
--- @include "lib/moving"
local meta, job, offers, causes, bids, log, req = unpack(KEYS)
local epoch, bid, actor, key, fingerprint, trace, if_version, bp, plan, told, grace_ms, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local p, by = cjson.decode(plan), {bp = bp, actor = actor, cause = key .. ':' .. fingerprint, trace = trace, req = req,
  fingerprint = fingerprint, causes = causes}
local j, again = begin(z, job, by)
if again then return again end
if not j or not related(j, actor, p.by) then return refuse(req, fingerprint, 'NOT_FOUND') end
local all, b = redis.call('HGETALL', bids), nil
for i = 1, #all, 2 do
  local each = bid_parse(all[i], all[i + 1])
  if each.id == bid then b = each end
end
if not b then return refuse(req, fingerprint, 'NOT_FOUND') end
if b.status == 'accepted' and string.find(j.last, p.command .. ' ' .. actor .. ' ', 1, true) == 1 then
  return as_it_was(req, fingerprint, string.match(j.last, '(%d+)$'), j.version, j.id)
end
local why = step_refused(z, j, p, actor, if_version)
if why then return refuse(req, fingerprint, why) end
if j.expires > 0 and over(z, j.expires + grace_ms, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end
if not bids_taken(j) or b.status ~= 'open' then return refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
-- Terms that changed have ended their bids already: this holds whatever changes them.
local made = tonumber(string.match(b.rest, '"version":(%d+)')) or 0
if made < (tonumber(redis.call('HGET', job, 'terms')) or 0) then return refuse(req, fingerprint, 'VERSION_CONFLICT') end
local t = tech_load(z.tag .. 'tech:' .. b.technician)
if not bid_suits(z, j, t) then return refuse(req, fingerprint, 'INVALID') end
if t.load >= t.capacity and j.begins <= z.now then return refuse(req, fingerprint, 'AT_CAPACITY') end

b.status = 'accepted'
bid_write(bids, b)
if b.amount ~= '-' and string.find(j.pub, '"pricing":"flat"', 1, true) then
  j.amount = b.amount
  redis.call('HSET', job, 'amount', j.amount)
end
local events = moving(z, j, offers, p, {}, actor, t)
table.insert(events, 2, bid_told('bid.accepted', j, b, audience(told, j)))
return finish(z, log, j, events, by)
