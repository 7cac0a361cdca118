--[[ bid_list: lists the bids for one job, the latest bid of each technician. If `technician` is not empty, the list has
only their bid.
KEYS    meta  job  bids
ARGV    epoch  technician
OK      seq  version  bids…
ERR     STALE_EPOCH  NOT_FOUND
FLAGS   allow-oom
]]
--- @include "lib/bids"
--- @include "lib/job"
--- @include "lib/zone"
local meta, job_key, bids = unpack(KEYS)
local epoch, technician = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if not job then return {'NOT_FOUND', '0'} end
local reply, own = {'OK', '0', zone.seq, job.version}, technician ~= '' and redis.call('HGET', bids, technician)
local all = technician == '' and redis.call('HGETALL', bids) or own and {technician, own} or {}
for i = 1, #all, 2 do reply[#reply + 1] = Bids.json(job, Bids.parse(all[i], all[i + 1])) end
return reply
