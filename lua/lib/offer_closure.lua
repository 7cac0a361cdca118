-- The events for technicians with an open offer: that the offer is closed, and why.
local OfferClosure = {}

function OfferClosure.event(job, channels, reason, message, actor, cause)
  return {type = 'offer.closed', to = table.concat(channels, ' '), bp = job.bp, actor = actor, cause = cause,
    data = '{"job":{"id":"' .. job.id .. '"},"reason":"' .. reason .. '","message":"' .. message .. '"}'}
end

-- Returns the event for a step that ended the search without a technician: the job ended for `reason`, or continues
-- without a search.
function OfferClosure.step_event(job, channels, reason)
  if job.phase ~= 'closed' then return OfferClosure.event(job, channels, 'withdrawn', 'Offer withdrawn') end
  return OfferClosure.event(job, channels, reason, reason == 'expired' and 'Offer expired' or 'Booking cancelled')
end
