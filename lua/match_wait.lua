--[[ match_wait: does the scheduled task `allocate:<job>:<round>` of a job that waits for matching windows. Only windows
assign the job. A job whose search was postponed until now enters the index of waiting jobs. For any other job the
script stores a record of which technicians fit and which do not, and emits `job.unfilled` to ops the first time.
KEYS    meta  job  offers  waves  supply  due  log
ARGV    epoch  entry  round  repeat_ms  unfilled_audience  schedule
OK      seq  version
ERR     STALE_EPOCH
EMITS   job.unfilled  session.job
TOUCHES {z}:open:*  {z}:tech:*  {z}:tech:*:plan  {z}:summaries  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/candidates"
--- @include "lib/dispatch_index"
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/job_state"
--- @include "lib/matching"
--- @include "lib/wave"
--- @include "lib/window"
--- @include "lib/zone"
local meta, job_key, offers, waves, supply, due, log = unpack(KEYS)
local epoch, entry, round, repeat_ms, unfilled_audience, schedule = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, rule = Matching.load(zone, job_key)
if not job or job.mode ~= 'allocate' or not Job.is_searching(job) or job.wave + 1 ~= tonumber(round) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0}
end
if rule == 'too_early' then
  DispatchIndex.is_postponed(zone, job, entry)
  return {'OK', '0', 0, 0}
end
if type(rule) ~= 'table' then
  redis.call('ZADD', due, zone.now + repeat_ms, entry)
  return {'OK', '0', 0, 0}
end
redis.call('ZREM', due, entry)
if not redis.call('ZSCORE', zone.tag .. 'open:' .. job.service, job.id) then
  DispatchIndex.wait_for_window(zone, job, job.lon, job.lat, rule)
  JobFields.touch(job_key)
else
  local wave = Matching.new_wave(zone, job, rule, math.floor(Window.reach_m(zone, job, rule) + 0.5), schedule)
  Matching.search(zone, job, offers, supply, wave)
  for _, fit in ipairs(wave.fit) do Candidates.exclude(wave, 'window', fit.id) end
  Wave.save_record(zone, job, wave, waves, round, {})
  if round == '1' then JobFields.set(job_key, 'sought', string.format('%.0f', job.release)) end
  JobFields.set(job_key, 'wave', round)
  job.wave = tonumber(round)
  redis.call('ZADD', due, zone.now + repeat_ms, 'allocate:' .. job.id .. ':' .. round + 1)
  JobState.know(job)
  if round == '1' then EventLog.append(zone, log, Wave.unfilled_event(job, unfilled_audience)) end
end
EventLog.record_jobs(zone)
EventLog.save_seq(zone)
return {'OK', '0', zone.seq, job.version}
