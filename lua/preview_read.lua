--[[ preview_read: reads which technicians would be asked first for a job that is not booked, and which would not and why.
`id` is an id that no job has. One call is one turn of the search. If the turn decides nothing, the reply's `walk` is not
'', and the next call continues from it. The document is like the record of a wave, with `scores` and `more`. If `window`,
the rule of a matching window, is not '', the document has `how` and `candidates` as in match_view, and nobody is asked.
KEYS    meta  job  offers  supply  people
ARGV    epoch  id  mode  service  customer  lat  lon  named  preferred  walk  size  radius_m  whole_zone  weights  limits  scheduled  duration_min  schedule  window
OK      seq  version  document  walk
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:tech:*  {z}:tech:*:plan  {z}:summaries  {z}:tech:*:offers  {z}:open:*  {z}:people  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/density"
--- @include "lib/limits"
--- @include "lib/preview"
--- @include "lib/schedule"
--- @include "lib/wave"
--- @include "lib/window"
--- @include "lib/zone"
local meta, job_key, offers, supply, people = unpack(KEYS)
local epoch, id, mode, service, customer, lat, lon, named, preferred, walk, size, radius_m, whole_zone, weights,
  limits, scheduled, duration_min, schedule, window = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = {key = job_key, id = id, mode = mode, service = service, customer = customer, lat = lat, lon = lon,
  preferred = preferred, walk = walk, scheduled = scheduled, pub = '"duration_min":' .. duration_min}
-- Jobs in waves and jobs that wait for a window are in an index, which has their score.
if mode == 'broadcast' or mode == 'bids' or window ~= '' then job.score = Density.score_of(tonumber(lat), tonumber(lon)) end
local wave, best = Wave.new(zone, job, tonumber(size), tonumber(radius_m), weights, Limits.parse(limits)), nil
wave.explains, wave.reads_only = true, true
wave.rule = schedule ~= '' and Schedule.rule_of_search(job, schedule) or nil
if mode == 'direct' then best = Preview.ask_named(zone, job, wave, named)
elseif window ~= '' then
  wave, best = Preview.read_window(zone, job, offers, supply, Window.parse(window), schedule), {}
elseif mode == 'allocate' then best = Preview.ask_best(zone, job, offers, supply, wave)
else best = Preview.ask_wave(zone, job, offers, supply, wave, whole_zone == '1') end
if not wave.undecided and mode ~= 'direct' then Preview.examine_others(zone, job, offers, people, wave) end
return {'OK', '0', zone.seq, 0, Preview.document(zone, job, wave, best),
  wave.undecided and Wave.progress_text(wave) or ''}
