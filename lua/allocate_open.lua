--[[ allocate_open: chooses the best technician for a job by the blueprint's weights, and assigns them in the same step.
Its scheduled task is `allocate:<job>:<round>`. If nobody fits, the next round is due after repeat_ms. `plan` is '' if
the job has left the state in which the engine chooses.
KEYS    meta  job  offers  waves  supply  due  log
ARGV    epoch  entry  round  radius_m  repeat_ms  weights  plan  unfilled_audience  schedule
OK      seq  version  technician  more
ERR     STALE_EPOCH
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger  session.job
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:user:*  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:dispute:*  {z}:disputes  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/allocation"
--- @include "lib/apply_step"
--- @include "lib/candidates"
--- @include "lib/command"
--- @include "lib/dispatch_index"
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/limits"
--- @include "lib/plan"
--- @include "lib/schedule"
--- @include "lib/step"
--- @include "lib/tech"
--- @include "lib/travel_rule"
--- @include "lib/wave"
--- @include "lib/zone"
local meta, job_key, offers, waves, supply, due, log = unpack(KEYS)
local epoch, entry, round, radius_m, repeat_ms, weights, plan_json, unfilled_audience, schedule = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, plan = Job.load(job_key), plan_json ~= '' and Plan.parse(plan_json)
if job and Job.is_searching(job) and DispatchIndex.is_postponed(zone, job, entry) then
  return {'OK', '0', 0, 0, '', '0'}
end
if not job or job.mode ~= 'allocate' or not Job.is_searching(job) or job.wave + 1 ~= tonumber(round) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, '', '0'}
end
-- The job entered another state after the caller read the job: the scheduled task stays and runs again.
if not plan or not Step.allows_state(job, plan, 'engine') then return {'OK', '0', 0, 0, '', '0'} end
redis.call('ZREM', due, entry)
-- The entry stays: before the next attempt a missing mark may be set, or a dispute may be resolved.
if job.frozen ~= '' or not Step.allows_marks(job, plan) then
  redis.call('ZADD', due, zone.now + repeat_ms, entry)
  return {'OK', '0', 0, 0, '', '0'}
end
Candidates.load_search_fields(job)
local wave = Wave.new(zone, job, Allocation.MAX_CANDIDATES, tonumber(radius_m), weights, Limits.parse(''))
wave.explains, wave.rule = true, TravelRule.parse(schedule)
local first = job.walk == ''
if first and round == '1' then JobFields.set(job_key, 'sought', zone.now) end
local best, more = Allocation.choose(zone, job, offers, supply, wave, first)
local scores = ',"scores":[' .. Allocation.scores_json(zone, wave) .. ']'
Wave.save_record(zone, job, wave, waves, round, best and {best.id} or {}, scores)
JobFields.set(job_key, 'walk', more and Wave.progress_text(wave) or '')
if best then
  local tech = Tech.load(zone.tag .. 'tech:' .. best.id)
  Schedule.check(zone, job, tech, schedule)
  local events = ApplyStep.run(zone, job, offers, plan, {}, 'engine', tech)
  Command.finish(zone, log, job, events, {actor = 'engine', cause = ''})
elseif more then
  redis.call('ZADD', due, zone.now, entry)
else
  JobFields.set(job_key, 'wave', round)
  redis.call('ZADD', due, zone.now + repeat_ms, 'allocate:' .. job.id .. ':' .. round + 1)
  if round == '1' then EventLog.append(zone, log, Wave.unfilled_event(job, unfilled_audience)) end
end
EventLog.record_jobs(zone)
EventLog.save_seq(zone)
return {'OK', '0', zone.seq, job.version, best and best.id or '', more and '1' or '0'}
