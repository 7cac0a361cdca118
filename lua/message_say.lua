--[[ message_say: appends a member's message to the room of a job: number, membership, `client_id` and event in one
step. A repeat with the same `client_id` gets the first message, also in a closed room; `digest` recognizes another text
under it. `text` and `files` are JSON. `looked` is 0, or the checkpoint of SQL after SQL was asked for this `client_id`:
Redis has only the latest ones (the refusal LOOK asks the caller to look in SQL). `key` '' makes no idempotency record.
If the repeated message is no longer in Redis, the reply has only its `n`.
KEYS    meta  room  messages  read  sent  log  req
ARGV    epoch  user  client_id  digest  looked  message  text  files  actor  key  fingerprint  trace
OK      seq  version  n  data
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  NOT_MEMBER  LOOK  ROOM_CLOSED
EMITS   message.created
]]
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/iso"
--- @include "lib/messages"
--- @include "lib/room"
--- @include "lib/zone"
local meta, room_key, messages, read, sent, log, req = unpack(KEYS)
local epoch, user, client_id, digest, looked, message, text, files, actor, key, fingerprint, trace = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
-- A known key is refused here only with another fingerprint. A repeat gets its reply below, by its `client_id`.
local again = key ~= '' and Idempotency.lookup(req, fingerprint)
if again and again[1] ~= 'OK' then return again end
local row = redis.call('HMGET', room_key, 'id', 'state', 'n', 'to', 'bp', 'dropped', 'm:' .. user)
local id, state, n, to, bp, dropped, member = unpack(row)
if not id then return {'NOT_FOUND', '0'} end
if not member then return {'NOT_MEMBER', '0'} end
local field = user .. ':' .. client_id
local known = redis.call('HGET', sent, field)
if known then
  local number, seq, other = string.match(known, '^(%d+) (%d+) (%S+)$')
  if other ~= digest then return {'REUSED_KEY', '0'} end
  local entry = redis.call('XRANGE', messages, number, number)[1]
  return {'OK', '1', seq, 0, number, entry and entry[2][6]}
end
if tonumber(dropped or 0) > tonumber(looked) then return {'LOOK'} end
if state ~= 'open' then return {'ROOM_CLOSED', '0'} end

n = tonumber(n) + 1
local seq = zone.seq + 1
local data = '{"id":"' .. message .. '","room":"' .. id .. '","n":' .. n .. ',"sender":' .. Room.user_json(member) ..
  ',"text":' .. text .. ',"files":' .. files .. ',"client_id":"' .. client_id .. '","at":' .. Iso.format(zone.now) .. '}'
redis.call('HSET', room_key, 'n', n)
redis.call('XADD', messages, n .. '-0', 'seq', seq, 'sender', user, 'data', data)
redis.call('HSET', sent, field, n .. ' ' .. seq .. ' ' .. digest)
redis.call('HSET', read, user, n)
Messages.trim(meta, room_key, messages, sent, n)
if key ~= '' then Idempotency.store(req, fingerprint, seq, 0, '-', Idempotency.STEP_MS) end
EventLog.append(zone, log, {type = 'message.created', to = to, actor = actor, bp = bp, trace = trace,
  cause = key ~= '' and key .. ':' .. fingerprint or '', data = '{"message":' .. data .. '}'})
EventLog.save_seq(zone)
return {'OK', '0', seq, 0, n, data}
