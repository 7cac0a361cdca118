--[[ dispute_list: the open disputes of an index of jobs (all that are frozen, or a user's), a part of the index at a
time: how many jobs were looked at, and the score of the last one, below which the next part begins.
KEYS    meta  index
ARGV    epoch  below  limit
OK      seq  version  looked  last  dispute…
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/dispute"
local meta, index = unpack(KEYS)
local epoch, below, limit = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local found = redis.call('ZREVRANGEBYSCORE', index, below, '-inf', 'WITHSCORES', 'LIMIT', 0, limit)
local reply = {'OK', '0', z.seq, 0, #found / 2, found[#found] or ''}
for i = 1, #found, 2 do
  local key = z.tag .. 'job:' .. found[i]
  local frozen = redis.call('HGET', key, 'frozen')
  if frozen and frozen ~= '' then
    reply[#reply + 1] = dispute_shown({frozen = frozen}, redis.call('HGET', key, 'dispute'))
  end
end
return reply
