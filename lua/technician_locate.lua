--[[ technician_locate: stores fixes of technicians, at most 64 in one call. Eight arguments are one fix: `id lat lon at
kind accuracy heading speed` (lib/fix says what they mean). `pace` is the present travel time (lib/arrival). Each fix
has an outcome, a text: `<online> <clock>`, where online is 1 or 0 and clock is the record's field (lib/device); the
word NOT_FOUND; or FAILED with the error's text. A fix that fails does not concern the others. Only STALE_EPOCH concerns
the whole call.
KEYS    meta  seen  log
ARGV    epoch  pace  fixes…
OK      seq  version  outcomes…
ERR     STALE_EPOCH  NOT_FOUND
EMITS   technician.near  technician.arrived  job.late
TOUCHES {z}:tech:*  {z}:supply:*  {z}:summaries  {z}:due  {z}:tech:*:jobs  {z}:tech:*:tracked  {z}:job:*  {z}:path:*  {z}:paths  {z}:live  {z}:people  {z}:open:*  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/fix"
--- @include "lib/zone"
local meta, seen, log = unpack(KEYS)
local zone = Zone.enter(meta, ARGV[1])
if not zone then return {'STALE_EPOCH'} end
local technicians, reply = {}, {'OK', '0', 0, 0}
for i = 3, #ARGV, 8 do technicians[#technicians + 1] = ARGV[i] end
local batch = Fix.begin_batch(zone, technicians, ARGV[2])
local function store(...) return Fix.store(zone, batch, ...) end
for i = 3, #ARGV, 8 do
  local done, outcome = pcall(store, unpack(ARGV, i, i + 7))
  if not done then outcome = 'FAILED ' .. tostring(type(outcome) == 'table' and outcome.err or outcome) end
  reply[#reply + 1] = outcome
end
Fix.end_batch(zone, batch, seen)
for _, event in ipairs(batch.events) do EventLog.append(zone, log, event) end
if #batch.events > 0 then EventLog.save_seq(zone) end
return reply
