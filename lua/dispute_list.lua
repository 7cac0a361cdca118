--[[ dispute_list: the open disputes of an index of jobs (all that are frozen, or a user's), newest first.
KEYS    meta  index
ARGV    epoch  limit
OK      seq  version  dispute…
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/dispute"
local meta, index = unpack(KEYS)
local epoch, limit = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local reply = {'OK', '0', z.seq, 0}
for _, id in ipairs(redis.call('ZREVRANGE', index, 0, tonumber(limit) - 1)) do
  local key = z.tag .. 'job:' .. id
  local frozen = redis.call('HGET', key, 'frozen')
  if frozen and frozen ~= '' then
    reply[#reply + 1] = dispute_shown({frozen = frozen}, redis.call('HGET', key, 'dispute'))
  end
end
return reply
