--[[ technician_leave: removes a technician from the zone when they change zones. The technician must be offline and
hold no job.
KEYS    meta  tech  tech_jobs  tech_offers  seen  log
ARGV    epoch  id
OK      seq  version
ERR     STALE_EPOCH  ILLEGAL_TRANSITION
EMITS   session.work
FLAGS   allow-oom
TOUCHES {z}:supply:*  {z}:summaries  {z}:people  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/supply"
--- @include "lib/tech"
--- @include "lib/work_feed"
--- @include "lib/zone"
local meta, tech_key, tech_jobs, tech_offers, seen, log = unpack(KEYS)
local epoch, id = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local tech = Tech.load(tech_key)
if tech and (tech.online == '1' or redis.call('SCARD', tech_jobs) > 0) then return {'ILLEGAL_TRANSITION', '0'} end
if tech then
  Supply.remove(zone, tech)
  tech.services = ''
  if WorkFeed.sync(zone, log, tech) > 0 then EventLog.save_seq(zone) end
end
redis.call('DEL', tech_key, tech_jobs, tech_offers)
redis.call('ZREM', seen, id)
redis.call('ZREM', zone.tag .. 'people', id)
return {'OK', '0', 0, 0}
