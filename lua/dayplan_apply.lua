--[[ dayplan_apply: makes all moves of one group of a day plan, or none. Each job is assigned to its new technician in
the same way as by job_assign. The last value of a refusal is the id of the job that prevents the group. If the group
was applied before, nothing changes. `moves` is a list of {job, version, technician, bp, plan, args, schedule}: `plan`
is the plan of the command that assigns the job, `schedule` the rule for schedules of the job's blueprint.
KEYS    meta  plan  log
ARGV    epoch  group  actor  trace  moves
OK      seq  version
ERR     STALE_EPOCH  NOT_FOUND  ILLEGAL_TRANSITION  TOO_EARLY  FROZEN  CANCELLED  EXPIRED  VERSION_CONFLICT  INVALID  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  SCHEDULE_CONFLICT  AT_CAPACITY  UNSIGNED  FILES_MISSING
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:job:*  {z}:job:*:offers  {z}:job:*:bids  {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:due  {z}:user:*:jobs  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:dispute:*  {z}:disputes  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/apply_step"
--- @include "lib/command"
--- @include "lib/day_plan"
--- @include "lib/event_log"
--- @include "lib/job_fields"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, plan_key, log = unpack(KEYS)
local epoch, group, actor, trace, moves_json = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local known = redis.call('HMGET', plan_key, 'expires', 'applied')
if not known[1] then return {'NOT_FOUND', '0'} end
if DayPlan.is_applied(known[2], group) then return {'OK', '1', zone.seq, 0} end
if zone.now > tonumber(known[1]) then return {'EXPIRED', '0'} end
local moves = cjson.decode(moves_json)
local refusal = DayPlan.refusal(zone, moves, actor)
if refusal then return refusal end
local first, batches, request = zone.seq, {}, {actor = actor, cause = '', trace = trace}
for _, move in ipairs(moves) do
  local job = move.record
  local tech = Tech.load(zone.tag .. 'tech:' .. move.technician) -- an earlier move may have changed their load
  JobFields.remove(job.key, 'unserved')
  local events = ApplyStep.run(zone, job, job.key .. ':offers', move.step, move.args, actor, tech)
  local _, next_seq = Command.number(job, events, request, zone.seq + 1)
  zone.seq = next_seq - 1 -- the next step numbers its events from here
  batches[#batches + 1] = events
end
redis.call('HSET', plan_key, 'applied', (known[2] or '') .. ' ' .. group)
zone.seq = first
for _, events in ipairs(batches) do
  for _, event in ipairs(events) do EventLog.append(zone, log, event) end
end
EventLog.save_seq(zone)
return {'OK', '0', zone.seq, 0}
