--[[ match_view: reads jobs that wait for a matching window, each with the nearest technicians who may get it now. It
changes nothing. If `side` is `jobs`, `ids` are jobs. If `side` is `technicians`, `ids` are technicians, and the script
reads the nearest jobs of each, at most `limit`. `schedules` is JSON: the rule of lib/travel_rule for each blueprint.
The script stops after Matching.MAX_VISITS technicians; `looked` is how many of the ids it has done. `how` is why a
candidate may get the job: `reach` (they are within it), `preferred` (by the customer; they are the only candidate) or
`beyond` (Matching.search_beyond). A candidate is `id metres distance rating acceptance waiting workload`: the last five
are the parts of the score (lib/ranking). It is `id metres distance` if only the distance has a weight in the blueprint.
KEYS    meta  supply  open
ARGV    epoch  side  limit  schedules  ids…
OK      seq  version  looked  (id  version  bp  status  customer  waiting_ms  reach_m  how  candidates…) …
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:job:*  {z}:job:*:offers  {z}:tech:*  {z}:tech:*:plan  {z}:summaries  {z}:people  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/candidates"
--- @include "lib/geo"
--- @include "lib/matching"
--- @include "lib/plan"
--- @include "lib/tech"
--- @include "lib/wave"
--- @include "lib/window"
--- @include "lib/zone"
local meta, supply, open = unpack(KEYS)
local epoch, side, limit, schedules_json = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local schedules = Plan.parse(schedules_json)
local reply, visited = {'OK', '0', zone.seq, 0, 0}, 0

local function add_job(job, wave, reach_m, how)
  local row = {job.id, job.version, job.bp, job.status, job.customer, string.format('%.0f', zone.now - job.release),
    string.format('%.0f', reach_m), wave.preferred and 'preferred' or how}
  for _, fit in ipairs(wave.fit) do row[#row + 1] = Matching.candidate_text(zone, wave, fit) end
  reply[#reply + 1] = row
end

-- Returns the job, the rule of its windows, its reach and a wave; nil if no window may assign the job now.
local function begin_job(id)
  local job, rule = Matching.load(zone, zone.tag .. 'job:' .. id)
  if type(rule) ~= 'table' or not schedules[job.bp] then return nil end
  local reach_m = Window.reach_m(zone, job, rule)
  return job, rule, reach_m, Matching.new_wave(zone, job, rule, reach_m, schedules[job.bp])
end

local function look_at_job(id)
  local job, rule, reach_m, wave = begin_job(id)
  if not job then return end
  local offers, how = job.key .. ':offers', 'reach'
  Matching.search(zone, job, offers, supply, wave)
  visited = visited + wave.visited
  if #wave.fit == 0 then
    wave, how = Matching.search_beyond(zone, job, offers, supply, rule, schedules[job.bp]) or wave, 'beyond'
    visited = visited + wave.visited
  end
  add_job(job, wave, reach_m, how)
end

local looked_at, order = {}, {}

-- Returns the job with its wave, the same for all technicians of the call.
local function find_job(id)
  if looked_at[id] == nil then
    local job, rule, reach_m, wave = begin_job(id)
    looked_at[id] = job and {job = job, rule = rule, reach_m = reach_m, wave = wave, offers = job.key .. ':offers'} or
    false if job then order[#order + 1] = looked_at[id] end
    if job and Wave.take_preferred(zone, job, job.key .. ':offers', wave) then wave.fit = {wave.preferred} end
  end
  return looked_at[id] or nil
end

local function look_at_technician(id)
  local tech = Tech.load(zone.tag .. 'tech:' .. id)
  if not tech or tech.lat == '' then return end
  local near = redis.call('GEOSEARCH', open, 'FROMLONLAT', tech.lon, tech.lat, 'BYRADIUS', Geo.WHOLE_EARTH_M, 'm',
    'COUNT', limit, 'ASC')
  for _, job_id in ipairs(near) do
    local found = find_job(job_id)
    visited = visited + 1
    if found and not found.wave.preferred then Candidates.evaluate(zone, found.job, found.offers, {id}, found.wave) end
  end
end

local look = side == 'jobs' and look_at_job or look_at_technician
for i = 5, #ARGV do
  if visited >= Matching.MAX_VISITS then break end
  look(ARGV[i])
  reply[5] = reply[5] + 1
end
for _, found in ipairs(order) do
  local wave, beyond = found.wave, nil
  if #wave.fit == 0 and visited < Matching.MAX_VISITS then
    beyond = Matching.search_beyond(zone, found.job, found.offers, supply, found.rule,
      schedules[found.job.bp])
    visited = visited + Matching.MAX_PEOPLE
  end
  add_job(found.job, beyond or wave, found.reach_m, beyond and 'beyond' or 'reach')
end
return reply
