-- The events for technicians with an open offer: that the offer is closed, and why.
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/offers"
local OfferClosure = {}

function OfferClosure.event(job, channels, reason, message, actor, cause)
  return {type = 'offer.closed', to = table.concat(channels, ' '), bp = job.bp, actor = actor, cause = cause,
    data = '{"job":{"id":"' .. job.id .. '"},"reason":"' .. reason .. '","message":"' .. message .. '"}'}
end

-- Returns the reason and the message after a step that ended the search: `tech` got the job, the job ended for
-- `end_reason`, or the job continues without a search.
function OfferClosure.reason(job, tech, end_reason)
  if tech then return 'taken', 'Booking already taken' end
  if job.phase ~= 'closed' then return 'withdrawn', 'Offer withdrawn' end
  return end_reason, end_reason == 'expired' and 'Offer expired' or 'Booking cancelled'
end

-- Returns the event after a step that ended the search; nil if no offer is open, or if the event is postponed. The event
-- of a job with many offers is postponed to the scheduled task `close`, so that a claim takes as long with 500 offers as
-- with ten. `closing` in the job's record has what the task needs: the time of the step (ms), the technician who got
-- the job, the reason and the message. A search that starts again rewrites the offers, so it cannot wait. `few` are the
-- offers if the caller has read them. The step's event has `offers_closing`, which wakes the scheduler.
function OfferClosure.close_all(zone, job, offers, few, tech, end_reason)
  local reason, message = OfferClosure.reason(job, tech, end_reason)
  local all = few or Offers.read_few(offers) or Job.is_searching(job) and redis.call('HGETALL', offers)
  if not all then
    job.closing = string.format('%.0f %s %s %s', zone.now, tech and tech.id or '-', reason, message)
    JobFields.set(job.key, 'closing', job.closing)
    redis.call('ZADD', zone.tag .. 'due', zone.now, 'close:' .. job.id)
    return nil
  end
  local channels = Offers.open_channels(all, zone.now, tech and tech.id)
  return #channels > 0 and OfferClosure.event(job, channels, reason, message) or nil
end

-- Returns the postponed event and removes it from the job's record; nil if no offer is open.
function OfferClosure.take_postponed(job, offers)
  local at, technician, reason, message = string.match(job.closing, '^(%d+) (%S+) (%S+) (.*)$')
  JobFields.remove(job.key, 'closing')
  job.closing = ''
  local channels = Offers.open_channels(redis.call('HGETALL', offers), tonumber(at), technician)
  return #channels > 0 and OfferClosure.event(job, channels, reason, message) or nil
end
