--[[ blocker_list: lists the reasons why a technician gets no offers now.
KEYS    meta  tech
ARGV    epoch
OK      seq  version  online  blockers…
ERR     STALE_EPOCH  NOT_FOUND
FLAGS   allow-oom
]]
--- @include "lib/eligibility"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, tech_key = unpack(KEYS)
local epoch = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local tech = Tech.load(tech_key)
if not tech then return {'NOT_FOUND', '0'} end
return {'OK', '0', zone.seq, 0, tech.online, unpack(Eligibility.blockers(zone, tech))}
