--[[ log_rewrite: rewrites a short log, with the same entries. Redis stores a stream in blocks, and a trimmed entry
stays in its block, and so in the files of Redis, until the whole block is trimmed. A log of more than `limit` entries
stays as it is; `rewritten` is then 0.
KEYS    meta  log
ARGV    epoch  limit
OK      seq  version  rewritten
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/zone"
local meta, log = unpack(KEYS)
local epoch, limit = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if redis.call('XLEN', log) > tonumber(limit) then return {'OK', '0', 0, 0, 0} end
local entries = redis.call('XRANGE', log, '-', '+')
if #entries > 0 then redis.call('DEL', log) end
for _, entry in ipairs(entries) do redis.call('XADD', log, entry[1], unpack(entry[2])) end
return {'OK', '0', 0, 0, 1}
