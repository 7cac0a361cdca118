--[[ zone_fill: writes contents of keys of a zone that is being rebuilt. `parts` is a JSON list of parts of keys
(lib/rebuild), `done` is the number of rows that are written then.
KEYS    meta
ARGV    epoch  token  done  parts
OK      seq  version
ERR     STALE_EPOCH  STALE_TOKEN
]]
--- @include "lib/rebuild"
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, token, done, parts = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if not Rebuild.may_write(meta, token) then return {'STALE_TOKEN'} end
for _, part in ipairs(cjson.decode(parts)) do Rebuild.write_part(zone, unpack(part)) end
Rebuild.note_progress(meta, done)
return {'OK', '0', 0, 0}
