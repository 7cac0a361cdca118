--[[ zone_open: opens the zone if this Redis has the epoch of the log that the caller and the archive have. The script
changes nothing before that is certain. `known` is the archive's list of epochs and first seqs, `e1-9f2c41ab 1 e2-… 915
…`; `archived` is the archive's head and `database` the archive's id. `believed` is the newest epoch that the caller has
seen, and `seen` the highest seq in this epoch. `compared` is 1; 0 if the archive cannot be read (then the zone opens
only in the epoch `believed`); or `look` to change nothing. PAUSED: an operator closed the zone (zone_close).
STALE_RELEASE: the zone has a format that the caller does not know (`format` is SQL's, zone_upgrade raises it).
REBUILDING: a process rebuilds the zone from SQL (zone_rebuild); the reply has how many rows are written, and of how
many. FOREIGN_ROW: SQL has a row of another program under the seq of the next event (zone_close).
KEYS    meta  epochs  log
ARGV    run_id  compared  archived  known  database  believed  seen  format  knows
OK      seq  version  epoch  epochs  format
ERR     UNCOMPARED  EMPTY  BEHIND  FOREIGN  OLDER  HOLE  OTHER_DATABASE  CLOSED  PAUSED  REBUILDING  STALE_RELEASE  FOREIGN_ROW
FLAGS   allow-oom
]]
--- @include "lib/clock"
local meta, epochs, log = unpack(KEYS)
local run_id, compared, archived, known, database, believed, seen, format, knows = unpack(ARGV)
local row = redis.call('HMGET', meta, 'epoch', 'seq', 'run_id', 'skew', 'now', 'database', 'why', 'archived',
  'offset', 'done', 'total', 'format')
local epoch, head, same = row[1], tonumber(row[2]) or 0, row[3] == run_id
archived, seen = tonumber(archived), tonumber(seen)
local rolled_back = epoch == believed and head < seen
local stored = tonumber(row[12]) or 1
format = epoch and math.max(stored, tonumber(format)) or tonumber(archived > 0 and format or knows)
-- If Redis has no id of a database (before the first pairing): an archive without epochs cannot be the one that has
-- stored events of this Redis. This is the first check, because another database must not act on whether the zone is
-- paused or rebuilt.
local unpaired = epoch and not row[6] and known == '' and (tonumber(row[8]) or 0) > 0
if compared ~= '0' and (unpaired or row[6] and row[6] ~= database) then return {'OTHER_DATABASE'} end
if format > tonumber(knows) then return {'STALE_RELEASE'} end
if epoch == 'closed' and not row[7] then return {'CLOSED'} end
if row[7] == 'PAUSED' or row[7] == 'FOREIGN_ROW' then return {row[7]} end
if row[7] == 'REBUILDING' then return {'REBUILDING', row[10], row[11]} end
if compared == '0' then
  if epoch ~= believed or not same or rolled_back then return {'UNCOMPARED'} end
  return {'OK', '0', head, 0, epoch, '', stored}
end
if not epoch and (archived > 0 or seen > 0) then return {'EMPTY'} end
if head < archived then return {'BEHIND'} end

local function count(name) return tonumber(string.match(name, '^e(%d+)')) or 0 end
-- `number` is the newest epoch in this Redis, `elsewhere` the newest epoch that others have seen and that is not in
-- this Redis.
local here, listed, number, elsewhere = {}, {}, count(epoch or ''), 0
local rows = redis.call('HGETALL', epochs)
for i = 1, #rows, 2 do
  here[rows[i]] = tonumber(rows[i + 1])
  number = math.max(number, count(rows[i]))
end
for name, text in string.gmatch(known, '(%S+) (%S+)') do
  local first = tonumber(text)
  if here[name] ~= first then
    -- The archive may contain an epoch without events that this Redis does not have: Redis lost the epoch in a crash.
    if here[name] or first <= archived then return {'FOREIGN'} end
    elsewhere = math.max(elsewhere, count(name))
  end
  listed[name] = true
end
for name, first in pairs(here) do
  if first <= archived and not listed[name] then return {'FOREIGN'} end
end
if believed ~= '' and not here[believed] then elsewhere = math.max(elsewhere, count(believed)) end
-- If this server did not restart and lacks a newer epoch, a failover made another server the master in the meantime.
if epoch and same and elsewhere >= number then return {'OLDER'} end
local next_id = string.format('%.0f-0', archived + 1)
if head > archived and #redis.call('XRANGE', log, next_id, next_id) == 0 then return {'HOLE'} end
if compared == 'look' then return {'OK', '0', head, 0, epoch or '', '', format} end

redis.call('HSET', meta, 'database', database, 'format', format)
if not (epoch and epoch ~= 'closed' and same) or rolled_back then
  local now, offset = Clock.read(tonumber(row[5]) or 0, row[4], row[9])
  -- A zone without an earlier epoch has no clients that need a grace period.
  local opened = epoch and now or 0
  epoch = string.format('e%.0f-%s', math.max(number, elsewhere) + 1, string.sub(run_id, 1, 8))
  redis.call('HSET', meta, 'epoch', epoch, 'seq', head, 'run_id', run_id, 'opened_at', opened, 'now', now,
    'offset', offset)
  redis.call('HDEL', meta, 'why')
  redis.call('HSET', epochs, epoch, head + 1)
end
return {'OK', '0', head, 0, epoch, table.concat(redis.call('HGETALL', epochs), ' '), format}
