--[[ job_edit: changes the content of a booking. The caller merged the change into version `seen` of the job and checked
it. `denied` says what forbids it: `field`, `price` or ''. If the job has changed since, the caller reads the job again.
`terms` is 1 if the change concerns terms on which technicians bid: then open bids are closed, since nobody is bound to
terms that they never saw. `search_restart` is `place` or `time` if the search for a technician starts again at another
place, or from `release` (ms) on for `lifetime_ms`. `waits` is 1 if nobody can get the job before its time. The edit
uses `quote` up, if not ''. If earlier captures cover the new price, the job is paid (`captures`).
KEYS    meta  job  offers  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  seen  denied  changed  full  pub  service  lat  lon  amount  search_restart  release  scheduled  lifetime_ms  waits  audience  terms  bids_audience  schedule  quote  captures
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  VERSION_CONFLICT  FROZEN  NOT_EDITABLE  PRICE_LOCKED  INVALID  EXPIRED  DUPLICATE  SCHEDULE_CONFLICT
EMITS   job.*  offer.updated  offer.closed  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:user:*:jobs  {z}:supply:*  {z}:summaries  {z}:demand:*  {z}:due  {z}:disputes  {z}:dispute:*  {z}:live  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:open:*  {z}:people  {z}:wide:*  {z}:tech:*:offers  {z}:quote:*  (same slot, names known only inside)
]]
--- @include "lib/audience"
--- @include "lib/bid_close"
--- @include "lib/command"
--- @include "lib/dispatch_index"
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/job_record"
--- @include "lib/load"
--- @include "lib/map_index"
--- @include "lib/offer_update"
--- @include "lib/payment_capture"
--- @include "lib/quotes"
--- @include "lib/relation"
--- @include "lib/schedule_edit"
--- @include "lib/step_event"
--- @include "lib/zone"
local meta, job_key, offers, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, seen, denied, changed, full, pub, service, lat, lon,
  amount, search_restart, release, scheduled, lifetime_ms, waits, audience, terms, bids_audience, schedule, quote,
  captures = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, again, unchanged = Command.begin(zone, job_key,
  {bp = bp, req = req, fingerprint = fingerprint, causes = causes})
if again then return again end
local may_edit = job and (Relation.any(job, actor, 'customer ops') or
  string.sub(actor, 1, 8) == 'service:' and redis.call('HGET', job_key, 'owner') == actor)
if not may_edit then return Command.not_found(job, req, fingerprint) end
-- If the first request changed nothing, its repeat changes nothing, even if the job has other values now.
if unchanged then return {'OK', '1', zone.seq, job.version, job.id, Job.full_json(job)} end
if tonumber(seen) ~= job.version then return {'VERSION_CONFLICT', '0', 'seen'} end
local why = job.frozen ~= '' and 'FROZEN' or denied == 'field' and 'NOT_EDITABLE' or denied == 'price' and 'PRICE_LOCKED'
  or job.signed ~= '' and 'NOT_EDITABLE' or if_version ~= '' and tonumber(if_version) ~= job.version and 'VERSION_CONFLICT'
if why then return Idempotency.refuse(req, fingerprint, why) end
if changed == '[]' then
  Idempotency.store(req, fingerprint, 0, job.version, job.id, Idempotency.STEP_MS)
  return {'OK', '0', zone.seq, job.version, job.id, Job.full_json(job)}
end
local refused = Quotes.refusal(zone, quote)
if refused then return refused end
-- The holder, or the only technician asked, must provide the service of the changed job.
local who = job.holder ~= '' and job.holder or OfferUpdate.sole_recipient(job, offers)
local is_unfit = service ~= job.service and who and not OfferUpdate.provides(zone, who, service)
if is_unfit then return Idempotency.refuse(req, fingerprint, 'INVALID') end
local from, to, other = ScheduleEdit.check(zone, job, schedule, pub, scheduled, lat, lon)
if from then return Idempotency.refuse(req, fingerprint, 'SCHEDULE_CONFLICT', from, to, other) end
local searching = Job.is_searching(job)
local restarts = searching and search_restart ~= '' and job.mode ~= 'direct'
if restarts then DispatchIndex.remove(zone, job, job.mode) end
redis.call('HSET', job_key, 'full', full, 'pub', pub, 'service', service, 'lat', lat, 'lon', lon, 'amount', amount,
  'scheduled', scheduled)
ScheduleEdit.apply(zone, job)
JobFields.set(job_key, 'begins', release)
Quotes.use(zone, quote, job.id)
if MapIndex.is_live(job.phase) then MapIndex.place_job(zone, job) end
job.full, job.pub, job.service, job.amount, job.begins = full, pub, service, amount, tonumber(release)
Load.refresh(zone, job)
local now = Job.next_version(zone, job, nil)
if restarts then
  local at = DispatchIndex.start_time(zone, job, tonumber(release))
  job.waits = waits == '1' and search_restart == 'time'
  local left = job.expires > 0 and math.max(1, job.expires - at) or 0
  DispatchIndex.restart(zone, job, at, search_restart == 'time' and tonumber(lifetime_ms) or left)
elseif searching and search_restart == 'time' and waits == '1' then
  OfferUpdate.extend_sole_offer(zone, job, offers, tonumber(lifetime_ms))
end
job.last = 'edit ' .. actor .. ' ' .. string.format('%.0f', zone.seq + 1)
JobRecord.save(job)
local shown, cause, names = Job.full_json(job, now), key .. ':' .. fingerprint, ',"changed":' .. changed
local summary, events = names .. Audience.step_summary(job, job.status, 'edit'), {}
events[1] = {type = 'job.updated', to = Audience.channels(audience, job),
  data = '{"job":' .. shown .. names .. StepEvent.members(job, job.status, {command = 'edit'}, {}, actor) .. '}',
  restricted = Audience.restricted_copies(job, audience, summary)}
-- Bidders receive the changed job; if the terms changed, all open bids are closed.
events[2] = searching and job.mode == 'bids' and BidClose.update_event(job, summary) or nil
if terms == '1' then JobFields.set(job_key, 'terms', job.version) end
local paid = PaymentCapture.pay_again(zone, job, offers, cjson.decode(captures), actor, events)
if paid then paid.answers, shown = {command = 'edit'}, paid.shown end
local seq = Command.number(job, events, {actor = actor, cause = cause, trace = trace}, zone.seq + 1)
Idempotency.store(req, fingerprint, seq, job.version, job.id, Idempotency.STEP_MS, causes)
if terms == '1' and searching then BidClose.close_all(events, job, job.mode, 'changed', bids_audience) end
for _, event in ipairs(searching and OfferUpdate.update_all(zone, job, offers) or {}) do events[#events + 1] = event end
for _, event in ipairs(events) do EventLog.append(zone, log, event) end
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, job.id, shown}
