--[[ key_reserve: notes that a caller's idempotency key belongs to a command in SQL, so that no command in Redis is done
under it. A key that belongs to a command in Redis is refused. SQL itself tells its commands under one key apart.
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
