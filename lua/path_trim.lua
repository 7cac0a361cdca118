--[[ path_trim: removes the points of a path that are in SQL: those measured until the time `until` (ms). `entry` is the
path in the list of paths (lib/path).
KEYS    meta  paths  path
ARGV    epoch  entry  until
OK      seq  version
ERR     STALE_EPOCH
FLAGS   allow-oom
]]
--- @include "lib/path"
--- @include "lib/zone"
local meta, paths, path = unpack(KEYS)
local epoch, entry, until_ms = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
Path.remove(zone, paths, path, entry, tonumber(until_ms))
return {'OK', '0', 0, 0}
