--[[ bid_withdraw: a technician takes his bid back.
KEYS    meta  job  bids  log  req
ARGV    epoch  technician  key  fingerprint  trace  if_version  bp  plan  bid
OK      seq  version  job_id  bid
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT
EMITS   bid.closed
]]
--- @include "lib/enter"
--- @include "lib/begin"
--- @include "lib/tech"
--- @include "lib/bids"
--- @include "lib/audience"
--- @include "lib/relation"
--- @include "lib/step"
local meta, job, bids, log, req = unpack(KEYS)
local epoch, technician, key, fingerprint, trace, if_version, bp, plan, bid = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local p, j, again = cjson.decode(plan), begin(z, job, {bp = bp, req = req, fingerprint = fingerprint})
if again then return again end
local mine = j and redis.call('HGET', bids, technician)
local b = mine and bid_parse(technician, mine)
if not b or b.id ~= bid then return refuse(req, fingerprint, 'NOT_FOUND') end
if b.status == 'withdrawn' then return {'OK', '1', 0, j.version, j.id, bid_shown(j, b)} end
local why = step_refused(z, j, p, nil, if_version)
if why then return refuse(req, fingerprint, why) end
if b.status ~= 'open' then return refuse(req, fingerprint, 'ILLEGAL_TRANSITION') end

b.status = 'withdrawn'
bid_write(bids, b)
remember(req, fingerprint, z.seq + 1, j.version, j.id, 600000)
local event = bid_told('bid.closed', j, b, audience(p.told, j), 'withdrawn')
event.actor, event.cause, event.trace = 'technician:' .. technician, key .. ':' .. fingerprint, trace
local seq = append(z, log, event)
leave(z)
return {'OK', '0', seq, j.version, j.id, bid_shown(j, b)}
