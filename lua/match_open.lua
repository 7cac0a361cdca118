--[[ match_open: offers open jobs to a late joiner (lib/late_join). Its scheduled task is `match:<technician>`. `asked`
lists the customers whose accounts the caller has read, and `suspended` the suspended customers among them. If a job of
another customer would be offered, the script changes nothing, and the reply's `customers` lists the accounts that the
caller must read. `schedules` is JSON: the rule of lib/travel_rule for each blueprint.
KEYS    meta  tech  due  log
ARGV    epoch  entry  reach_m  limit  asked  suspended  schedules
OK      seq  version  offered  customers
ERR     STALE_EPOCH
EMITS   offer.created  session.job
TOUCHES {z}:job:*  {z}:job:*:offers  {z}:tech:*:offers  {z}:tech:*:plan  {z}:demand:*  {z}:wide:*  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/event_log"
--- @include "lib/geo"
--- @include "lib/job_fields"
--- @include "lib/late_join"
--- @include "lib/limits"
--- @include "lib/offer_creation"
--- @include "lib/plan"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, tech_key, due, log = unpack(KEYS)
local epoch, entry, reach_m, limit, asked, suspended, schedules_json = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local tech = Tech.load(tech_key)
if not tech or tech.lat == '' or tech.online ~= '1' or tech.load >= tech.capacity then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, 0, ''}
end
local function contains_id(list, id) return string.find(' ' .. list .. ' ', ' ' .. id .. ' ', 1, true) ~= nil end
local uncertain_m = Tech.uncertainty_m(tech.acc)
local schedules = redis.call('EXISTS', tech_key .. ':plan') == 1 and Plan.parse(schedules_json) or nil
local jobs, unknown = LateJoin.nearby_jobs(zone, tech, tonumber(reach_m), tonumber(limit)), ''
for _, job in ipairs(jobs) do
  job.far = Geo.distance_m(job.lat, job.lon, tech.lat, tech.lon)
  local new = not contains_id(asked, job.customer) and not contains_id(unknown, job.customer)
  if new and LateJoin.qualifies(zone, job, tech, job.far + uncertain_m, schedules) then
    unknown = unknown .. ' ' .. job.customer
  end
end
if unknown ~= '' then return {'OK', '0', 0, 0, 0, unknown} end

redis.call('ZREM', due, entry)
local offered, seq = 0, 0
for _, job in ipairs(jobs) do
  if not contains_id(suspended, job.customer)
    and LateJoin.qualifies(zone, job, tech, job.far + uncertain_m, schedules) then
    -- A late joiner has no head start: they are among those who may claim last, unless the customer prefers them.
    local opens = math.max(zone.now, tech.id ~= job.preferred and job.opens or 0)
    local expires = OfferCreation.expires_at(job, opens, job.offer_ms)
    local offer = {id = tech.id, far = job.far, opens = opens, expires = expires}
    OfferCreation.create(zone, job, job.key .. ':offers', job.wave, {offer})
    JobFields.increment(job.key, 'asked', 1)
    redis.call('ZADD', due, 'LT', expires + Limits.parse(job.limits).grace, 'offers:' .. job.id .. ':' .. job.wave)
    if opens > zone.now then OfferCreation.hold(zone, job, job.wave, opens)
    else seq = EventLog.append(zone, log, OfferCreation.event(zone, job, {'user:' .. tech.id}, job.wave, expires)) end
    offered = offered + 1
  end
end
EventLog.record_jobs(zone)
if seq > 0 then EventLog.save_seq(zone) end
return {'OK', '0', seq, 0, offered, ''}
