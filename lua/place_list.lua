--[[ place_list: reads the records of jobs for the zone's map, in the order of `ids`; nil for a job that is over. The
script removes such a job from the index.
KEYS    meta  places
ARGV    epoch  ids…
OK      seq  version  (lat  lon  status  phase  holder) …
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  (same slot, names known only inside)
]]
--- @include "lib/map_index"
--- @include "lib/zone"
local meta, places = unpack(KEYS)
local zone = Zone.enter(meta, ARGV[1])
if not zone then return {'STALE_EPOCH'} end
local reply = {'OK', '0', zone.seq, 0}
for i = 2, #ARGV do
  local row = redis.call('HMGET', zone.tag .. 'job:' .. ARGV[i], 'lat', 'lon', 'status', 'phase', 'holder')
  if not MapIndex.is_live(row[4]) then
    redis.call('ZREM', places, ARGV[i])
    row = false
  end
  reply[#reply + 1] = row
end
return reply
