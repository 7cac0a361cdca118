--[[ technician_fill: writes the records of technicians of a zone that is being rebuilt. `records` is a JSON list of
`[id, fields, looks]`: `fields` are names and values in turn, `looks` is true for a technician who may have missed a
search for open jobs. A technician who is online gets a new lease, and each technician is added to the indexes. `done`
is the number of rows that are written then.
KEYS    meta  seen
ARGV    epoch  token  done  records
OK      seq  version
ERR     STALE_EPOCH  STALE_TOKEN
TOUCHES {z}:tech:*  {z}:supply:*  {z}:summaries  {z}:people  {z}:due  {z}:job:*  {z}:open:*  (same slot, names known only inside)
]]
--- @include "lib/map_index"
--- @include "lib/rebuild"
--- @include "lib/supply"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, seen = unpack(KEYS)
local epoch, token, done, records = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if not Rebuild.may_write(meta, token) then return {'STALE_TOKEN'} end
for _, record in ipairs(cjson.decode(records)) do
  local id, fields, looks = unpack(record)
  local key = zone.tag .. 'tech:' .. id
  redis.call('HSET', key, unpack(fields))
  local tech = Tech.load(key)
  if tech.online == '1' then redis.call('ZADD', seen, zone.now, id) else redis.call('ZREM', seen, id) end
  if tech.lat ~= '' then MapIndex.write_people(zone, MapIndex.person_entry(tech)) end
  Supply.sync(zone, tech, looks)
end
Rebuild.note_progress(meta, done)
return {'OK', '0', 0, 0}
