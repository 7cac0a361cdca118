-- A zone that one process rebuilds from SQL (engine/rebuild/). Only the process that has the `token` of `meta` may write.
-- A part of a key is `[key, kind, expires_at, values]`, all texts. `values` are the arguments, after the key, of the
-- command that writes a key of this kind. For a stream they are its entries, `[id, field, value, …]`.
local Rebuild = {}

-- The word of zone_open that says why the zone is closed during a rebuild.
Rebuild.WHY = 'REBUILDING'

Rebuild.COMMANDS = {string = 'SET', hash = 'HSET', zset = 'ZADD', set = 'SADD', list = 'RPUSH', geo = 'GEOADD'}

function Rebuild.may_write(meta, token) return redis.call('HGET', meta, 'token') == token end

function Rebuild.write_part(zone, key, kind, expires_at, values)
  local left_ms = expires_at ~= '' and expires_at - zone.now
  if left_ms and left_ms <= 0 then return end
  if kind == 'stream' then
    for _, entry in ipairs(values) do redis.call('XADD', key, unpack(entry)) end
  else redis.call(Rebuild.COMMANDS[kind], key, unpack(values)) end
  if left_ms then redis.call('PEXPIRE', key, string.format('%.0f', left_ms)) end
end

-- Notes how many rows are written, for those who wait.
function Rebuild.note_progress(meta, done) redis.call('HSET', meta, 'done', done) end
