--[[ job_list: the jobs of an index (a user's, or the zone's), newest first, with the seq they are as of. Of a job that the
`technician` is merely asked for it is the public part.
KEYS    meta  index
ARGV    epoch  technician  below  limit
OK      seq  version  (created  job) …
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/job"
--- @include "lib/public"
local meta, index = unpack(KEYS)
local epoch, technician, below, limit = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local found = redis.call('ZREVRANGEBYSCORE', index, below, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
local reply = {'OK', '0', z.seq, 0}
for i = 1, #found, 2 do
  local j = job_load(z.tag .. 'job:' .. found[i])
  if j then
    reply[#reply + 1] = found[i + 1]
    local asked = j.unaccepted == '1' and j.holder == technician
    reply[#reply + 1] = asked and job_public(j, j.card) or job_full(j)
  end
end
return reply
