--[[ schedule_read: reads a technician's schedule. Each visit is a text `start end job lat lon blueprint scheduled`, with
times in ms; `scheduled` is 0 if the job has no time.
KEYS    meta  schedule
ARGV    epoch
OK      seq  version  visits…
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/zone"
local meta, schedule = unpack(KEYS)
local epoch = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local reply, found = {'OK', '0', zone.seq, 0}, redis.call('ZRANGE', schedule, 0, -1, 'WITHSCORES')
for i = 1, #found, 2 do
  local row = redis.call('HMGET', zone.tag .. 'job:' .. string.match(found[i], '^%S+ (%S+)'), 'bp', 'scheduled')
  reply[#reply + 1] = found[i + 1] .. ' ' .. found[i] .. ' ' .. (row[1] or '') .. ' ' .. (row[2] or 0)
end
return reply
