--[[ room_typing: publishes that a member of an open room types, or stopped (`on`: true or false, as JSON). The message
has the channels of the present members, so that a gateway sends it to nobody else. Nothing is stored.
KEYS    meta  room
ARGV    epoch  user  on
OK      seq  version
ERR     STALE_EPOCH  NOT_FOUND  NOT_MEMBER  ROOM_CLOSED
TOUCHES {z}:live  (same slot, names known only inside)
]]
--- @include "lib/zone"
local meta, room_key = unpack(KEYS)
local epoch, user, on = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local id, state, to, bp, member = unpack(redis.call('HMGET', room_key, 'id', 'state', 'to', 'bp', 'm:' .. user))
if not id then return {'NOT_FOUND', '0'} end
if not member then return {'NOT_MEMBER', '0'} end
if state ~= 'open' then return {'ROOM_CLOSED', '0'} end
redis.call('SPUBLISH', zone.tag .. 'live', '{"kind":"typing","room":"' .. id .. '","user":"' .. user .. '","on":' .. on ..
  ',"to":"' .. to .. '","bp":"' .. bp .. '"}')
return {'OK', '0', 0, 0}
