--[[ technician_leave: an offline technician with nothing held is taken out of the zone, for a change of zone.
KEYS    meta  tech  tech_jobs  tech_offers  seen  log
ARGV    epoch  id
OK      seq  version
ERR     STALE_EPOCH  ILLEGAL_TRANSITION
EMITS   session.work
FLAGS   allow-oom
TOUCHES {z}:supply:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/supply"
--- @include "lib/append"
--- @include "lib/works"
local meta, tech, tech_jobs, tech_offers, seen, log = unpack(KEYS)
local epoch, id = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local t = tech_load(tech)
if t and (t.online == '1' or redis.call('SCARD', tech_jobs) > 0) then return {'ILLEGAL_TRANSITION', '0'} end
if t then
  supply_remove(z, t)
  t.services = ''
  if works_sync(z, log, t) > 0 then leave(z) end
end
redis.call('DEL', tech, tech_jobs, tech_offers)
redis.call('ZREM', seen, id)
return {'OK', '0', 0, 0}
