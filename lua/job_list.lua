--[[ job_list: the jobs of an index (a user's, or the zone's), newest first, with the seq they are as of.
KEYS    meta  index
ARGV    epoch  below  limit
OK      seq  version  (created  job) …
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
local meta, index = unpack(KEYS)
local epoch, below, limit = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local found = redis.call('ZREVRANGEBYSCORE', index, below, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
local reply = {'OK', '0', z.seq, 0}
for i = 1, #found, 2 do
  local j = job_load(z.tag .. 'job:' .. found[i])
  if j then
    reply[#reply + 1] = found[i + 1]
    reply[#reply + 1] = job_full(j)
  end
end
return reply
