--[[ zone_forget: removes jobs and rooms from a zone that is being rebuilt in part, before they are written again: their
keys, and their entries in the keys that they share with others. `jobs`, `rooms` and `tasks` (names in `due`) are JSON
lists.
KEYS    meta  due
ARGV    epoch  token  jobs  rooms  tasks
OK      seq  version
ERR     STALE_EPOCH  STALE_TOKEN
TOUCHES {z}:job:*  {z}:job:*:offers  {z}:job:*:causes  {z}:job:*:bids  {z}:job:*:waves  {z}:job:*:payments  {z}:jobs  {z}:disputes  {z}:places  {z}:demand:*  {z}:wide:*  {z}:open:*  {z}:ref:*  {z}:user:*:jobs  {z}:user:*:rooms  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:tech:*:offers  {z}:dispute:*  {z}:room:*  {z}:room:*:messages  {z}:room:*:read  {z}:room:*:sent  {z}:large_rooms  (same slot, names known only inside)
]]
--- @include "lib/rebuild"
--- @include "lib/room"
--- @include "lib/schedule"
--- @include "lib/zone"
local meta, due = unpack(KEYS)
local epoch, token, jobs, rooms, tasks = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if not Rebuild.may_write(meta, token) then return {'STALE_TOKEN'} end
local tag = zone.tag
for _, id in ipairs(cjson.decode(jobs)) do
  local key = tag .. 'job:' .. id
  local row = redis.call('HMGET', key, 'customer', 'holder', 'service', 'owner', 'reference', 'frozen', 'visit')
  local customer, holder, service, owner, reference, frozen, visit = unpack(row)
  for _, technician in ipairs(redis.call('HKEYS', key .. ':offers')) do
    redis.call('ZREM', tag .. 'tech:' .. technician .. ':offers', id)
  end
  for _, user in ipairs({customer or '', holder or ''}) do redis.call('ZREM', tag .. 'user:' .. user .. ':jobs', id) end
  for _, name in ipairs({'jobs', 'disputes', 'places'}) do redis.call('ZREM', tag .. name, id) end
  for _, name in ipairs({'demand:', 'wide:', 'open:'}) do redis.call('ZREM', tag .. name .. (service or ''), id) end
  for _, name in ipairs({':jobs', ':tracked'}) do redis.call('SREM', tag .. 'tech:' .. (holder or '') .. name, id) end
  if visit then redis.call('ZREM', tag .. 'tech:' .. (holder or '') .. ':plan', select(2, Schedule.entry(id, visit))) end
  if reference and reference ~= '' then
    redis.call('HDEL', tag .. 'ref:' .. string.match(owner, '[^:]*$'), reference)
  end
  if frozen and frozen ~= '' then redis.call('UNLINK', tag .. 'dispute:' .. frozen) end
  for _, part in ipairs({'', ':offers', ':causes', ':bids', ':waves', ':payments'}) do
    redis.call('UNLINK', key .. part)
  end
end
for _, id in ipairs(cjson.decode(rooms)) do
  local key = tag .. 'room:' .. id
  local room = Room.load(key)
  for user in pairs(room and room.members or {}) do redis.call('ZREM', tag .. 'user:' .. user .. ':rooms', id) end
  redis.call('SREM', tag .. 'large_rooms', id)
  for _, part in ipairs({'', ':messages', ':read', ':sent'}) do redis.call('UNLINK', key .. part) end
end
for _, name in ipairs(cjson.decode(tasks)) do redis.call('ZREM', due, name) end
return {'OK', '0', 0, 0}
