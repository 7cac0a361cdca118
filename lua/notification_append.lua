--[[ notification_append: what the log's events up to `to_seq` have to be told to whom; once, by the cursor's compare-and-set.
`told` are `n` times user, data and blueprint.
KEYS    meta  log  cursor
ARGV    epoch  from_seq  to_seq  n  told…
OK      seq  version  moved
ERR     STALE_EPOCH
EMITS   notification
]]
--- @include "lib/enter"
--- @include "lib/append"
local meta, log, cursor = unpack(KEYS)
local epoch, from_seq, to_seq, n = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
if (redis.call('GET', cursor) or '0') ~= from_seq then return {'OK', '1', 0, 0, '0'} end
redis.call('SET', cursor, to_seq)
for i = 1, tonumber(n) do
  append(z, log, {type = 'notification', to = 'user:' .. ARGV[3 * i + 2], data = ARGV[3 * i + 3], bp = ARGV[3 * i + 4]})
end
leave(z)
return {'OK', '0', z.seq, 0, '1'}
