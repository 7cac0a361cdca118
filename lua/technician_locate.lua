--[[ technician_locate: stores fixes of technicians, at most 64 in one call. Seven arguments are one fix: `id lat lon at
kind accuracy heading` (lib/fix says what they mean). Each fix has an outcome, a text: `<online> <clock>`, where online
is 1 or 0 and clock is the record's field (lib/device); the word NOT_FOUND; or FAILED with the error's text. A fix that
fails does not concern the others. Only STALE_EPOCH concerns the whole call.
KEYS    meta  seen
ARGV    epoch  fixes…
OK      seq  version  outcomes…
ERR     STALE_EPOCH  NOT_FOUND
TOUCHES {z}:tech:*  {z}:supply:*  {z}:summaries  {z}:due  {z}:tech:*:jobs  {z}:tech:*:tracked  {z}:job:*  {z}:live  {z}:people  (same slot, names known only inside)
]]
--- @include "lib/fix"
--- @include "lib/zone"
local meta, seen = unpack(KEYS)
local zone = Zone.enter(meta, ARGV[1])
if not zone then return {'STALE_EPOCH'} end
local function store(...) return Fix.store(zone, seen, ...) end
local reply = {'OK', '0', 0, 0}
for i = 2, #ARGV, 7 do
  local done, outcome = pcall(store, unpack(ARGV, i, i + 6))
  if not done then outcome = 'FAILED ' .. tostring(type(outcome) == 'table' and outcome.err or outcome) end
  reply[#reply + 1] = outcome
end
return reply
