--[[ room_forget: removes the name and the texts of an erased user from a room in Redis. `texts` contains two
values for each message: its number, and the JSON that replaces it. The messages keep their numbers.
KEYS    meta  room  messages
ARGV    epoch  user  texts…
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta, room, messages = unpack(KEYS)
local epoch, user = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local member = redis.call('HGET', room, 'm:' .. user)
if member then
  -- Quotes inside a name are escaped, so that the name cannot contain the text that follows it.
  redis.call('HSET', room, 'm:' .. user, (string.gsub(member, '"name":".-","role":"', '"name":"","role":"', 1)))
end
local new = {}
for i = 3, #ARGV, 2 do new[ARGV[i] .. '-0'] = ARGV[i + 1] end
-- An entry of a stream cannot be changed, and a removed one stays in its block of the stream (log_rewrite): the stream is
-- written again, with the same ids.
local ttl, entries = redis.call('PTTL', messages), redis.call('XRANGE', messages, '-', '+')
redis.call('DEL', messages)
for _, entry in ipairs(entries) do
  if new[entry[1]] then entry[2][6] = new[entry[1]] end
  redis.call('XADD', messages, entry[1], unpack(entry[2]))
end
if ttl > 0 then redis.call('PEXPIRE', messages, ttl) end
return {'OK', '0', 0, 0}
