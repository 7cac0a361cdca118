--[[ job_create: creates the job of a booking, once per idempotency key, reference and id. The reference is stored with
the fingerprint of its booking: the same booking again returns the first job, another booking is refused with DUPLICATE.
The job is on offer from `release` on (ms; 0 = now). The `named` technician is asked at once, the `preferred` one before
others. `state_entry` is of the first state; `full` has all members of the booking, and `pub` the public ones, as JSON.
`room` is the blueprint's `[room]`, compiled as in a plan, or ''; the reply has the room if it opens. `quote` is the
quote that the job uses up, or ''; with `quoted` (its members), this step creates the quote, valid for `quote_ms`. With
`reserve` (lib/reservation) the best candidate who has time gets the job; if nobody has, nothing is booked.
KEYS    meta  job  offers  log  req  ref  jobs  user_jobs
ARGV    epoch  id  actor  key  fingerprint  trace  reference  bp  state_entry  service  customer  lat  lon  amount  full  pub  release  scheduled  named  preferred  audience  contact  room  quote  quoted  quote_ms  reserve
OK      seq  version  job_id  job  room
ERR     STALE_EPOCH  REUSED_KEY  PROFILE_INCOMPLETE  KYC_NOT_APPROVED  ACCOUNT_NOT_APPROVED  INVALID  DUPLICATE  EXPIRED  SCHEDULE_CONFLICT
EMITS   job.*  offer.created  offer.closed  quote.created  bid.closed  payment.requested  technician.status  room.opened  room.left  room.closed  mediator.invited  session.room  session.ledger  session.job
TOUCHES {z}:due  {z}:demand:*  {z}:tech:*  {z}:tech:*:offers  {z}:tech:*:jobs  {z}:tech:*:plan  {z}:tech:*:tracked  {z}:supply:*  {z}:summaries  {z}:live  {z}:user:*  {z}:user:*:blocks  {z}:places  {z}:room:*  {z}:user:*:rooms  {z}:quote:*  {z}:dispute:*  {z}:disputes  {z}:open:*  {z}:people  {z}:wide:*  (same slot, names known only inside)
]]
--- @include "lib/audience"
--- @include "lib/dispatch_index"
--- @include "lib/event_log"
--- @include "lib/idempotency"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/job_record"
--- @include "lib/job_state"
--- @include "lib/named_technician"
--- @include "lib/offer_creation"
--- @include "lib/plan"
--- @include "lib/quotes"
--- @include "lib/reservation"
--- @include "lib/room_opening"
--- @include "lib/room_step"
--- @include "lib/room_view"
--- @include "lib/state_entry"
--- @include "lib/tech"
--- @include "lib/zone"
local meta, job_key, offers, log, req, ref, jobs, user_jobs = unpack(KEYS)
local epoch, id, actor, key, fingerprint, trace, reference, bp, state_entry, service, customer, lat, lon, amount, full,
  pub, release, scheduled, named, preferred, audience, contact, room_json, quote, quoted, quote_ms, reserve = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local again = Idempotency.lookup(req, fingerprint)
if again and again[3] == '0' then again[6] = '' end -- the job had the reference already
if again then return Idempotency.at_head(zone, again) end
if reference ~= '' then
  local first = redis.call('HGET', ref, reference)
  local known, known_fingerprint = string.match(first or '', '^(%S+) ?(%S*)$')
  if known and known_fingerprint ~= '' and known_fingerprint ~= fingerprint then return {'DUPLICATE', '0', known} end
  if known then return Idempotency.answer_unchanged(zone, req, fingerprint, 0, known, '', Idempotency.CREATION_MS) end
end
if redis.call('EXISTS', job_key) == 1 then
  return Idempotency.answer_unchanged(zone, req, fingerprint, 0, id, '', Idempotency.CREATION_MS)
end
local refused = quoted == '' and Quotes.refusal(zone, quote)
if refused then return refused end
local tech = named ~= '' and Tech.load(zone.tag .. 'tech:' .. named) or nil
local why = named ~= '' and (Tech.refusal(tech) or NamedTechnician.mismatch(zone, tech, service, customer) and 'INVALID')
if why then return Idempotency.refuse(req, fingerprint, why) end
local created, first = ',"created_at":' .. Iso.format(zone.now), StateEntry.parse(state_entry)
local job = {key = job_key, id = id, bp = bp, status = '', phase = '', version = 0, customer = customer, holder = '',
  card = '', full = full .. created, pub = pub .. created, at = '', service = service, expires = 0, wave = 0,
  unaccepted = '', last = '', claimed = '', amount = amount, mode = 'none', frozen = '', paid = '0', refunded = '0',
  back = '0', room = '', recorded = '1', lat = lat, lon = lon, scheduled = scheduled, begins = tonumber(release)}
local reserved, from, to = Reservation.choose(zone, job, reserve, preferred)
if from then return Idempotency.refuse(req, fingerprint, 'SCHEDULE_CONFLICT', from, to) end
JobState.note_members(job_key, '"bp":"' .. bp .. '","owner":"' .. actor .. '","contact":' .. cjson.encode(contact) ..
  ',"recorded":"1"' .. (release ~= '0' and ',"begins":"' .. release .. '"' or '') ..
  (preferred ~= '' and ',"preferred":"' .. preferred .. '"' or ''))
local now = Job.next_version(zone, job, first)
if Job.is_searching(job) then DispatchIndex.add(zone, job, math.max(zone.now, tonumber(release)), first.lifetime_ms) end
job.last = 'create ' .. actor .. ' ' .. string.format('%.0f', zone.seq + 1)
local rule, opened, room = room_json ~= '' and Plan.parse(room_json), nil, nil
RoomStep.assign_id(job, rule)
JobRecord.save(job, {'id', id, 'bp', bp, 'customer', customer, 'full', job.full, 'pub', job.pub, 'service', service,
  'lat', lat, 'lon', lon, 'wave', 0, 'amount', amount, 'frozen', '', 'created', zone.now, 'reference', reference,
  'owner', actor, 'preferred', preferred, 'contact', contact, 'scheduled', scheduled, 'begins', release, 'recorded', '1'})
redis.call('ZADD', jobs, zone.now, id)
redis.call('ZADD', user_jobs, zone.now, id)
if reference ~= '' then redis.call('HSET', ref, reference, id .. ' ' .. fingerprint) end
if job.room_is_due then
  opened, room = RoomOpening.open(zone, job, rule, tech and {id = named, name = tech.name, role = 'technician'})
end
local job, steps = Reservation.assign(zone, job, offers, reserve, reserved)
Idempotency.store(req, fingerprint, zone.seq + 1, job.version, id, Idempotency.CREATION_MS)
local shown, cause = Job.full_json(job, now), key .. ':' .. fingerprint
local event = {type = 'job.created', to = Audience.channels(audience, job), actor = actor, bp = bp, cause = cause,
  trace = trace, data = '{"job":' .. shown .. ',"changed":[]}',
  restricted = Audience.restricted_copies(job, audience, ',"changed":[]')}
event.follow = {quoted ~= '' and Quotes.create(zone, quote, customer, quoted, quote_ms, id, event)
  or Quotes.use(zone, quote, id)}
if named ~= '' then
  local ends = job.expires > 0 and job.expires or zone.now + OfferCreation.ENDLESS_MS
  OfferCreation.create(zone, job, offers, 0, {{id = named, far = 0, opens = zone.now, expires = ends}})
  event.follow[#event.follow + 1] = OfferCreation.event(zone, job, {'user:' .. named}, 0, ends)
end
if opened then
  opened.actor, opened.cause, opened.trace = actor, cause, trace
  event.follow[#event.follow + 1] = opened
end
local seq = EventLog.append(zone, log, event)
for _, step in ipairs(steps) do EventLog.append(zone, log, step) end
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, id, shown, room and RoomView.json(room, customer)}
