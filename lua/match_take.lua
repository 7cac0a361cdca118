--[[ match_take: gives a job to the technician whom a matching window chose for it. The script checks every condition
again, so that a window needs no lock. If a condition is no longer true, nothing changes, `technician` is '' and `why`
has the reason. `seen` is the job's version in the window, `how` says why the technician may get the job
(lua/match_view), `others` lists the other candidates of the job in the window, and `record` has members for the record
of the wave.
KEYS    meta  job  offers  waves  log
ARGV    epoch  technician  seen  how  plan  others  record  schedule
OK      seq  version  technician  why
ERR     STALE_EPOCH
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger  session.job
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:supply:*  {z}:summaries  {z}:open:*  {z}:people  {z}:due  {z}:demand:*  {z}:user:*  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:dispute:*  {z}:disputes  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/apply_step"
--- @include "lib/candidates"
--- @include "lib/command"
--- @include "lib/event_log"
--- @include "lib/matching"
--- @include "lib/plan"
--- @include "lib/schedule"
--- @include "lib/step"
--- @include "lib/tech"
--- @include "lib/wave"
--- @include "lib/window"
--- @include "lib/zone"
local meta, job_key, offers, waves, log = unpack(KEYS)
local epoch, technician, seen, how, plan_json, others, record, schedule = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, rule = Matching.load(zone, job_key)
local plan = Plan.parse(plan_json)

local function refusal()
  if job and job.version ~= tonumber(seen) then return 'version' end
  if type(rule) ~= 'table' then return rule end
  if not Step.allows_state(job, plan, 'engine') or not Step.allows_marks(job, plan) then return 'illegal_transition' end
  if how == 'preferred' and job.preferred ~= technician then return 'not_preferred' end
end

local function refuse(why) return {'OK', '0', zone.seq, job and job.version or 0, '', why} end

local why = refusal()
if why then return refuse(why) end
local reach_m = Window.reach_m(zone, job, rule)
local wave = Matching.new_wave(zone, job, rule, how == 'reach' and reach_m + Window.MOVED_M
  or how == 'beyond' and Matching.farthest_m(rule) or 0, schedule)
Candidates.evaluate(zone, job, offers, {technician}, wave)
if #wave.fit == 0 then return refuse((next(wave.out))) end
local far = wave.fit[1].far
if how == 'beyond' and far > reach_m and not Matching.is_nobody_nearer_busy(zone, job, offers, far) then
  return refuse('too_far')
end
for id in string.gmatch(others, '%S+') do
  Candidates.exclude(wave, 'rank', id)
  wave.visited = wave.visited + 1
end
wave.radius = how == 'reach' and math.floor(reach_m + 0.5) or 0
Wave.save_record(zone, job, wave, waves, job.wave + 1, {technician}, record)
local tech = Tech.load(zone.tag .. 'tech:' .. technician)
Schedule.check(zone, job, tech, schedule)
local events = ApplyStep.run(zone, job, offers, plan, {}, 'engine', tech)
Command.finish(zone, log, job, events, {actor = 'engine', cause = ''})
EventLog.record_jobs(zone)
return {'OK', '0', zone.seq, job.version, technician, ''}
