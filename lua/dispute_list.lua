--[[ dispute_list: lists the open disputes in an index of jobs (all frozen jobs, or the jobs of a user), newest first. A
call reads a part of the index. The reply contains the number of jobs that were read (`looked`) and the score of the
last one (`last`): the next part begins below this score.
KEYS    meta  index
ARGV    epoch  below  limit
OK      seq  version  looked  last  dispute…
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/dispute"
--- @include "lib/zone"
local meta, index = unpack(KEYS)
local epoch, below, limit = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local found = redis.call('ZREVRANGEBYSCORE', index, below, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
local reply = {'OK', '0', zone.seq, 0, #found / 2, found[#found] or ''}
for i = 1, #found, 2 do
  local key = zone.tag .. 'job:' .. found[i]
  local frozen = redis.call('HGET', key, 'frozen')
  if frozen and frozen ~= '' then
    reply[#reply + 1] = Dispute.present_json({key = key, frozen = frozen})
  end
end
return reply
