--[[ people_list: reads the records of people for the zone's map, in the order of `ids`; nil for a person who has no
position of the last hour. The script removes such a person from the index.
KEYS    meta  people
ARGV    epoch  ids…
OK      seq  version  (name  lat  lon  fix_at  online  load  ahead) …
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:tech:*  (same slot, names known only inside)
]]
--- @include "lib/map_index"
--- @include "lib/zone"
local meta, people = unpack(KEYS)
local zone = Zone.enter(meta, ARGV[1])
if not zone then return {'STALE_EPOCH'} end
local reply = {'OK', '0', zone.seq, 0}
for i = 2, #ARGV do
  local row = redis.call('HMGET', zone.tag .. 'tech:' .. ARGV[i], 'name', 'lat', 'lon', 'fix_at', 'online', 'load',
    'ahead')
  if not row[2] or row[2] == '' or zone.now - (tonumber(row[4]) or 0) >= MapIndex.PEOPLE_MS then
    redis.call('ZREM', people, ARGV[i])
    row = false
  end
  reply[#reply + 1] = row
end
return reply
