--[[ bid_list: the bids for one job, each technician's latest; a technician's own alone, where one is named.
KEYS    meta  job  bids
ARGV    epoch  technician
OK      seq  version  bids…
ERR     STALE_EPOCH  NOT_FOUND
FLAGS   allow-oom
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/tech"
--- @include "lib/bids"
local meta, job, bids = unpack(KEYS)
local epoch, technician = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j = job_load(job)
if not j then return {'NOT_FOUND', '0'} end
local reply, own = {'OK', '0', z.seq, j.version}, technician ~= '' and redis.call('HGET', bids, technician)
local all = technician == '' and redis.call('HGETALL', bids) or own and {technician, own} or {}
for i = 1, #all, 2 do reply[#reply + 1] = bid_shown(j, bid_parse(all[i], all[i + 1])) end
return reply
