--[[ key_reserve: reserves a caller's idempotency key for a command in SQL, so that no command in Redis uses it. A key
that a command in Redis has used is refused. Two commands in SQL with the same key are distinguished in SQL.
KEYS    req
ARGV    fingerprint  ttl_ms
OK      seq  version
ERR     REUSED_KEY
]]
--- @include "lib/idempotency"
local req = unpack(KEYS)
local fingerprint, ttl_ms = unpack(ARGV)
if not Idempotency.reserve(req, fingerprint, ttl_ms) then return {'REUSED_KEY', '0'} end
return {'OK', '0', 0, 0}
