--[[ zone_open: is this the life of the log that we and the archive know? Nothing is changed before that is sure.
`known` is the archive's list `e1 1 e2 915 …` of epochs and first seqs, `archived` its head; `compared` is 0 where
the archive was not asked, which suffices for a server that did not restart.
KEYS    meta  epochs
ARGV    run_id  compared  archived  known
OK      seq  version  epoch
ERR     UNCOMPARED  EMPTY  BEHIND  FOREIGN  CLOSED
FLAGS   allow-oom
]]
--- @include "lib/clock"
local meta, epochs = unpack(KEYS)
local run_id, compared, archived, known = unpack(ARGV)
local m = redis.call('HMGET', meta, 'epoch', 'seq', 'run_id', 'skew', 'now', 'offset')
if m[1] == 'closed' then return {'CLOSED'} end
if m[1] and m[3] == run_id then return {'OK', '0', m[2], 0, m[1]} end
if compared ~= '1' then return {'UNCOMPARED'} end
local head = tonumber(m[2]) or 0
if not m[1] and tonumber(archived) > 0 then return {'EMPTY'} end
if head < tonumber(archived) then return {'BEHIND'} end
local last = 0
for epoch, first in string.gmatch(known, '(%S+) (%S+)') do
  local here = redis.call('HGET', epochs, epoch)
  -- An epoch that the archive began but has no event of yet may be unknown here.
  if tonumber(first) <= tonumber(archived) and here ~= first then return {'FOREIGN'} end
  last = math.max(last, tonumber(string.match(epoch, '%d+')))
end
local number = math.max(last, tonumber(string.match(m[1] or 'e0', '%d+'))) + 1
local now, offset = clock(tonumber(m[5]) or 0, m[4], m[6])
local epoch = 'e' .. number
-- A zone that has never lived has nothing to be lenient with: no grace.
redis.call('HSET', meta, 'epoch', epoch, 'seq', head, 'run_id', run_id, 'opened_at', m[1] and now or 0, 'now', now,
  'offset', offset)
redis.call('HSET', epochs, epoch, head + 1)
return {'OK', '0', head, 0, epoch}
