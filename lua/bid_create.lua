--[[ bid_create: a technician offers to do a job that takes bids; it is his answer to the invitation, where he had one.
KEYS    meta  job  bids  offers  tech  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  bid  amount  note  most  grace_ms  lease_ms
OK      seq  version  job_id  bid
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  NOT_OFFERED  DUPLICATE  AT_CAPACITY
EMITS   bid.created
TOUCHES {z}:tech:*:offers  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/begin"
--- @include "lib/tech"
--- @include "lib/bids"
--- @include "lib/offers"
--- @include "lib/closing"
--- @include "lib/audience"
--- @include "lib/relation"
--- @include "lib/step"
local meta, job, bids, offers, tech, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan, bid, amount, note, most, grace_ms, lease_ms =
  unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local p, j, again = cjson.decode(plan), begin(z, job, {bp = bp, req = req, fingerprint = fingerprint})
if again then return again end
local t = tech_load(tech)
local why = unfit(t)
if why then return refuse(req, fingerprint, why) end
if not j or not bid_suits(z, j, t) then return refuse(req, fingerprint, 'NOT_FOUND') end
why = step_refused(z, j, p, nil, if_version)
if why then return refuse(req, fingerprint, why) end
if not bids_taken(j) then return refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end
if j.expires > 0 and over(z, j.expires + grace_ms, lease_ms) then return refuse(req, fingerprint, 'EXPIRED') end
local text, mine = redis.call('HGET', offers, technician), redis.call('HGET', bids, technician)
if bid_left(text) then return refuse(req, fingerprint, 'NOT_OFFERED') end
if mine and bid_parse(technician, mine).status == 'open' then return refuse(req, fingerprint, 'DUPLICATE') end
if not mine and redis.call('HLEN', bids) >= tonumber(most) then return refuse(req, fingerprint, 'AT_CAPACITY') end

local b = {technician = technician, status = 'open', id = bid, at = z.now, amount = amount, rest =
  '"technician":{"id":"' .. t.id .. '","name":' .. t.name .. ',"rating":' .. t.rating .. '},"version":' .. j.version .. ',"note":' .. note}
bid_write(bids, b)
local o = text and offer_parse(text)
if o and o.status == 'sent' then
  o.status = 'accepted'
  offer_write(offers, technician, o)
  redis.call('ZREM', z.tag .. 'tech:' .. technician .. ':offers', j.id)
end
remember(req, fingerprint, z.seq + 1, j.version, j.id, 86400000)
local event = bid_told('bid.created', j, b, audience(p.told, j))
event.actor, event.cause, event.trace = 'technician:' .. technician, key .. ':' .. fingerprint, trace
local seq = append(z, log, event)
leave(z)
return {'OK', '0', seq, j.version, j.id, bid_shown(j, b)}
