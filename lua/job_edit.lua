--[[ job_edit: what was booked is changed. The caller merged the change into the job as of version `seen` and judged it
(`denied`: `field`, `price` or nothing); where the job has moved on since, they look again. `terms` is 1 where what a bid
was made on has changed: open bids are closed then, since nobody may be bound to what they never saw. `anew`: `place` or `time`
where a technician has to be looked for elsewhere, or from `release` (ms) on for `life` ms; `waits` is 1 where they cannot be
given the job before its time.
KEYS    meta  job  offers  causes  log  req
ARGV    epoch  actor  key  fingerprint  trace  if_version  bp  seen  denied  changed  full  pub  service  lat  lon  amount  anew  release  scheduled  life  waits  told  terms  bids_told
OK      seq  version  job_id  job
ERR     STALE_EPOCH  REUSED_KEY  NOT_FOUND  OTHER_BLUEPRINT  VERSION_CONFLICT  FROZEN  NOT_EDITABLE  PRICE_LOCKED  INVALID
EMITS   job.updated  offer.updated  offer.closed  bid.closed
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:tech:*:offers  {z}:demand:*  {z}:wide:*  {z}:due  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/begin"
--- @include "lib/public"
--- @include "lib/relation"
--- @include "lib/seeking"
--- @include "lib/outbid"
--- @include "lib/load"
--- @include "lib/updating"
--- @include "lib/told"
--- @include "lib/audience"
local meta, job, offers, causes, log, req = unpack(KEYS)
local epoch, actor, key, fingerprint, trace, if_version, bp, seen, denied, changed, full, pub, service, lat, lon, amount,
  anew, release, scheduled, life, waits, told, terms, bids_told = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j, again = begin(z, job, {bp = bp, req = req, fingerprint = fingerprint, causes = causes})
if again then return again end
local booked = redis.call('HGET', job, 'owner') == actor and string.sub(actor, 1, 8) == 'service:'
if not j or not (booked or related(j, actor, 'customer ops')) then return refuse(req, fingerprint, 'NOT_FOUND') end
if tonumber(seen) ~= j.version then return {'VERSION_CONFLICT', '0', 'seen'} end
if j.frozen ~= '' then return refuse(req, fingerprint, 'FROZEN') end
if denied == 'field' then return refuse(req, fingerprint, 'NOT_EDITABLE') end
if denied == 'price' then return refuse(req, fingerprint, 'PRICE_LOCKED') end
if if_version ~= '' and tonumber(if_version) ~= j.version then return refuse(req, fingerprint, 'VERSION_CONFLICT') end
if changed == '[]' then return {'OK', '0', 0, j.version, j.id, job_full(j)} end
-- Who has the job, or alone was asked for it, must be able to do what it has become.
local who = j.holder ~= '' and j.holder or asked_alone(j, offers)
if service ~= j.service and who and not serves(z, who, service) then
  return refuse(req, fingerprint, 'INVALID')
end
local sought = seeks(j)
local elsewhere = sought and anew ~= '' and j.mode ~= 'direct'
if elsewhere then seeking_ends(z, j, j.mode) end
redis.call('HSET', job, 'full', full, 'pub', pub, 'service', service, 'lat', lat, 'lon', lon, 'amount', amount,
  'scheduled', scheduled, 'begins', release)
j.full, j.pub, j.service, j.amount, j.begins = full, pub, service, amount, tonumber(release)
load_anew(z, j)
local now = job_move(z, j, nil)
if elsewhere then
  local at = seeking_from(z, j, tonumber(release))
  j.waits = waits == '1' and anew == 'time'
  local left = anew == 'time' and tonumber(life) or j.expires > 0 and math.max(1, j.expires - at) or 0
  seeking_elsewhere(z, j, at, left)
elseif sought and anew == 'time' and waits == '1' then asked_until(z, j, offers, tonumber(life)) end
j.last = 'edit ' .. actor .. ' ' .. string.format('%.0f', z.seq + 1)
job_save(j)
remember(req, fingerprint, z.seq + 1, j.version, j.id, 600000, causes)
local shown, cause = job_full(j, now), key .. ':' .. fingerprint
local names = ',"changed":' .. changed
local seq = append(z, log, {type = 'job.updated', to = audience(told, j), actor = actor, bp = bp, cause = cause, trace = trace,
  data = '{"job":' .. shown .. names .. step_told(j, j.status, {command = 'edit'}, {}, actor) .. '}',
  apart = apart(j, told, names .. step_apart(j, j.status, 'edit'))})
-- Bidders hear what the job is by now; a bid on other terms is over.
local bidders = j.mode == 'bids' and sought and bids_open(j) or {}
if #bidders > 0 then
  append(z, log, {type = 'job.updated', to = table.concat(bidders, ' '), actor = actor, bp = bp, cause = cause, trace = trace,
    data = '{"job":' .. job_public(j) .. names .. step_apart(j, j.status, 'edit') .. '}'})
end
if terms == '1' then
  redis.call('HSET', job, 'terms', j.version)
  local closed = {}
  if sought then bids_close(closed, j, j.mode, 'changed', bids_told) end
  for _, event in ipairs(closed) do append(z, log, event) end
end
if sought then for _, event in ipairs(offers_updated(z, j, offers)) do append(z, log, event) end end
leave(z)
return {'OK', '0', seq, j.version, j.id, shown}
