-- Creates offers, in the same way for a wave and for a late joiner. An offer that `opens` later (ms) is neither
-- announced nor counted as asked before that time.
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/job_state"
--- @include "lib/offers"
local OfferCreation = {}

-- How long after its deadline an offer stays in the pull list at most, and how long an offer lives if its job has no
-- lifetime: ten years.
OfferCreation.OVERDUE_MS, OfferCreation.ENDLESS_MS = 600000, 315360000000
-- One of this many pull lists is pruned when it gets an offer.
OfferCreation.PRUNED_OF = 8

-- Creates the offers of a wave. Each element of `made` has a technician's `id`, their distance `far` (m), and the times
-- (ms) at which their offer `opens` and `expires`.
function OfferCreation.create(zone, job, offers, wave, made)
  local records, opens, expires, head = {}, nil, nil, nil
  for i, offer in ipairs(made) do
    -- Most offers of a wave have the same times, and to make texts of numbers takes long.
    if offer.opens ~= opens or offer.expires ~= expires then
      opens, expires, head = offer.opens, offer.expires, Offers.record_head('sent', wave, offer.opens, offer.expires)
    end
    records[2 * i - 1], records[2 * i] = offer.id, Offers.add_distance(head, offer.far)
    local tech_key = zone.tag .. 'tech:' .. offer.id
    redis.call('ZADD', tech_key .. ':offers', expires, job.id)
    -- The pull list of a technician who never reads it must not grow. After a pause, offers that are long past their
    -- deadline are still open (`Zone.has_ended`).
    if (zone.seq + i) % OfferCreation.PRUNED_OF == 0 and zone.now > zone.opened + OfferCreation.OVERDUE_MS then
      redis.call('ZREMRANGEBYSCORE', tech_key .. ':offers', '-inf', zone.now - OfferCreation.OVERDUE_MS)
    end
    if opens <= zone.now then redis.call('HINCRBY', tech_key, 'asked', 1) end
  end
  JobState.note_offers(offers, records)
  if #made > 0 then redis.call('HSET', offers, unpack(records)) end
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

-- Schedules the opening of a wave's offers that open later. `held` in the job's record lists these tasks, `wave:opens`.
function OfferCreation.hold(zone, job, wave, opens)
  local name = string.format('%.0f:%.0f', wave, opens)
  redis.call('ZADD', zone.tag .. 'due', opens, 'opens:' .. job.id .. ':' .. name)
  local held = redis.call('HGET', job.key, 'held') or ''
  if string.find(' ' .. held .. ' ', ' ' .. name .. ' ', 1, true) then return end
  JobFields.set(job.key, 'held', held .. (held ~= '' and ' ' or '') .. name)
end

-- Notes that the offers of a wave that open at `opens` (ms) are open now.
function OfferCreation.release(job, wave, opens)
  local held, name = redis.call('HGET', job.key, 'held') or '', string.format('%.0f:%.0f', wave, opens)
  local left = {}
  for each in string.gmatch(held, '%S+') do if each ~= name then left[#left + 1] = each end end
  JobFields.set(job.key, 'held', table.concat(left, ' '))
end
