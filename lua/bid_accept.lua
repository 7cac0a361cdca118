--[[ bid_accept: the customer accepts a bid: its technician is the holder, its amount the price of a flat job, and all
other bids are declined.
KEYS    meta  job  offers  causes  bids  log  req
ARGV    epoch  bid  actor  key  fingerprint  trace  if_version  bp  plan  told  grace_ms  lease_ms
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  INVALID  AT_CAPACITY
EMITS   job.*  bid.accepted  bid.closed  offer.closed  technician.status
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:demand:*  {z}:due  {z}:user:*:jobs  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/verdict"
--- @include "lib/repeat"
--- @include "lib/goal"
--- @include "lib/job"
--- @include "lib/seeking"
--- @include "lib/supply"
--- @include "lib/freeing"
--- @include "lib/holder"
--- @include "lib/offers"
--- @include "lib/closed"
--- @include "lib/audience"
--- @include "lib/append"
--- @include "lib/relation"
--- @include "lib/told"
--- @include "lib/step"
--- @include "lib/outbid"
--- @include "lib/codes"
--- @include "lib/assigning"
local meta, job, offers, causes, bids, log, req = unpack(KEYS)
local epoch, bid, actor, key, fingerprint, trace, if_version, bp, plan, told, grace_ms, lease_ms = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
-- Before all else: who may, and how he is answered, only the job's own blueprint says.
local j, p = job_load(job), cjson.decode(plan)
if j and j.bp ~= bp then return {'OTHER_BLUEPRINT', j.bp} end
local again = remembered(req, fingerprint, causes, z, j)
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
local why = step_refused(j, p, actor, if_version)
if why then return refuse(req, fingerprint, why) end
if j.expires > 0 and over(z, j.expires + grace_ms, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end
if not bids_taken(j) or b.status ~= 'open' then return refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
local t = tech_load(z.tag .. 'tech:' .. b.technician)
if not bid_suits(z, j, t) then return refuse(req, fingerprint, 'INVALID') end
if t.load >= t.capacity and j.begins <= z.now then return refuse(req, fingerprint, 'AT_CAPACITY') end

local seq, shown = z.seq + 1, nil
b.status = 'accepted'
bid_write(bids, b)
if b.amount ~= '-' and string.find(j.pub, '"pricing":"flat"', 1, true) then
  j.amount = b.amount
  redis.call('HSET', job, 'amount', j.amount)
end
j.last = p.command .. ' ' .. actor .. ' ' .. string.format('%.0f', seq)
local events = assigning(z, j, offers, t, p, {}, actor)
table.insert(events, 2, bid_told('bid.accepted', j, b, audience(told, j)))
for _, event in ipairs(events) do
  event.bp, event.actor, event.cause, event.trace = bp, actor, key .. ':' .. fingerprint, trace
  append(z, log, event)
  shown = shown or event.shown
end
remember(req, fingerprint, seq, j.version, j.id, 600000, causes)
leave(z)
return {'OK', '0', seq, j.version, j.id, shown}
