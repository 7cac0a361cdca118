--[[ wave_open: opens one wave of offers of a job. Its scheduled task is `wave:<job>:<wave>`; the script changes nothing
if that wave is not the next one any more. `whole_zone` is 1 if the wave may reach every technician of the zone. The
reply's `asked` counts the offers of this turn, and `more` is 1 if this wave continues in another turn. A technician
whose schedule has no time for the job by the rule `schedule` is not asked (Schedule.rule_of_search).
KEYS    meta  job  offers  waves  supply  due  log
ARGV    epoch  entry  wave  size  radius_m  interval_ms  offer_ms  whole_zone  weights  limits  audience  unfilled_audience  schedule
OK      seq  version  asked  more
ERR     STALE_EPOCH
EMITS   offer.created  job.searching  job.unfilled  session.job
TOUCHES {z}:tech:*  {z}:summaries  {z}:tech:*:offers  {z}:demand:*  {z}:wide:*  {z}:user:*:blocks  {z}:tech:*:plan  (same slot, names known only inside)
]]
--- @include "lib/candidates"
--- @include "lib/dispatch_index"
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/job_state"
--- @include "lib/limits"
--- @include "lib/offer_creation"
--- @include "lib/schedule"
--- @include "lib/wave"
--- @include "lib/wave_choice"
--- @include "lib/zone"
local meta, job_key, offers, waves, supply, due, log = unpack(KEYS)
local epoch, entry, wave_number, size, radius_m, interval_ms, offer_ms, whole_zone, weights, limits, audience,
  unfilled_audience, schedule = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job = Job.load(job_key)
if not job or not Candidates.is_inviting(job) or job.wave + 1 ~= tonumber(wave_number) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, 0, '0'}
end
Candidates.load_search_fields(job)
local wave, room_ends = Wave.new(zone, job, tonumber(size), tonumber(radius_m), weights, Limits.parse(limits)), nil
wave.rule = Schedule.rule_of_search(job, schedule)
wave.room, room_ends = Limits.open_offer_room(zone, offers, wave.asked)
if DispatchIndex.is_postponed(zone, job, entry) or Limits.postpone_when_full(zone, wave.room, room_ends, entry) then
  JobFields.touch(job_key)
  EventLog.record_jobs(zone)
  return {'OK', '0', 0, 0, 0, '0'}
end
local first = job.walk == ''
local best, chosen = WaveChoice.choose(zone, job, offers, supply, wave, whole_zone == '1')
if chosen then
  job.alone = zone.now + wave.limits.alone
  JobFields.set(job_key, 'alone', job.alone)
end
local ids, groups, base = {}, {}, chosen and job.alone or Wave.others_open_at(zone, job, offers)
for i, fit in ipairs(best) do
  ids[i] = fit.id
  local opens = fit == chosen and zone.now or base + Wave.head_start(wave, wave.made + i)
  local group = groups[opens] or {expires = OfferCreation.expires_at(job, opens, tonumber(offer_ms))}
  group[#group + 1], groups[opens] = 'user:' .. fit.id, group
  fit.opens, fit.expires = opens, group.expires
end
OfferCreation.create(zone, job, offers, wave_number, best)
Wave.save_record(zone, job, wave, waves, wave_number, ids)
wave.made = wave.made + #ids
local next_at = math.max(wave.began + tonumber(interval_ms), zone.now)
local done = not wave.more or (whole_zone ~= '1' and (wave.made >= tonumber(size) or zone.now == next_at))
local total, sought = job.asked + #ids, first and wave_number == '1' and {'sought', zone.now} or {}
redis.call('ZREM', due, entry)
if done then
  JobFields.set(job_key, 'wave', wave_number, 'walk', '', 'radius', radius_m, 'offer_ms', offer_ms,
    'limits', limits, 'opens', base + Wave.head_start(wave, wave.made), 'asked', total, unpack(sought))
  redis.call('ZADD', due, next_at, 'wave:' .. job.id .. ':' .. wave_number + 1)
  Wave.index_wide(zone, job, wave.radius == 0)
  job.wave = tonumber(wave_number)
else
  JobFields.set(job_key, 'walk', Wave.progress_text(wave), 'asked', total, unpack(sought))
  redis.call('ZADD', due, zone.now, entry)
end
for opens, group in pairs(groups) do
  redis.call('ZADD', due, 'LT', group.expires + wave.limits.grace, 'offers:' .. job.id .. ':' .. wave_number)
  if opens > zone.now then OfferCreation.hold(zone, job, wave_number, opens) end
end
JobState.know(job)
for opens, group in pairs(groups) do
  if opens <= zone.now then
    EventLog.append(zone, log, OfferCreation.event(zone, job, group, wave_number, group.expires))
  end
end
if first and unfilled_audience ~= '' then EventLog.append(zone, log, Wave.unfilled_event(job, unfilled_audience)) end
if done then
  EventLog.append(zone, log, Wave.searching_event(zone, job, wave, wave_number, total, next_at, audience))
end
EventLog.record_jobs(zone)
EventLog.save_seq(zone)
return {'OK', '0', zone.seq, job.version, #ids, done and '0' or '1'}
