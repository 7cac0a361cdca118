--- @include "lib/iso"
--- @include "lib/job"

-- Creates offers, in the same way for a wave and for a late joiner. An offer that `opens` later (ms) is neither
-- announced nor counted as asked before that time.
local OfferCreation = {}

-- How long after its deadline an offer stays in the pull list at most, and how long an offer lives if its job has no
-- lifetime: ten years.
OfferCreation.OVERDUE_MS, OfferCreation.ENDLESS_MS = 600000, 315360000000

function OfferCreation.create(zone, job, offers, id, wave, far, expires, opens)
  redis.call('HSET', offers, id, string.format('sent %.0f %.0f %.0f %.0f', wave, opens or zone.now, expires, far))
  local pull = zone.tag .. 'tech:' .. id .. ':offers'
  redis.call('ZADD', pull, expires, job.id)
  -- The pull list of a technician who never reads it must not grow. After a pause, offers that are long past their
  -- deadline are still open (`Zone.has_ended`).
  if zone.now > zone.opened + OfferCreation.OVERDUE_MS then
    redis.call('ZREMRANGEBYSCORE', pull, '-inf', zone.now - OfferCreation.OVERDUE_MS)
  end
  if not opens or opens <= zone.now then redis.call('HINCRBY', zone.tag .. 'tech:' .. id, 'asked', 1) end
end

function OfferCreation.event(zone, job, channels, wave, expires)
  return {type = 'offer.created', to = table.concat(channels, ' '), bp = job.bp,
    data = '{"offer":{"job":' .. Job.public_json(job) .. ',"status":"sent","wave":' .. wave .. ',"offered_at":' ..
      Iso.format(zone.now) .. ',"expires_at":' .. Iso.format(expires) .. '}}'}
end

-- An offer ends at the latest when its job ends.
function OfferCreation.expires_at(job, opens, offer_ms)
  local expires = opens + offer_ms
  if job.expires > 0 and job.expires < expires then expires = job.expires end
  return expires
end

-- Returns the due entry for technicians who may claim from `opens` on.
function OfferCreation.due_entry(job, wave, opens)
  return string.format('opens:%s:%.0f:%.0f', job.id, wave, opens)
end
