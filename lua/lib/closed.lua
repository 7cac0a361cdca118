-- Telling those who held an open offer that it is closed, and why.
local function offer_closed(j, to, reason, message, actor, cause)
  return {type = 'offer.closed', to = table.concat(to, ' '), bp = j.bp, actor = actor, cause = cause,
    data = '{"job":{"id":"' .. j.id .. '"},"reason":"' .. reason .. '","message":"' .. message .. '"}'}
end

-- The job is not offered any more, by a step that nobody took it with: it ended as `closing` says, or goes on.
local function offers_over(j, told, closing)
  if j.phase ~= 'closed' then return offer_closed(j, told, 'withdrawn', 'Offer withdrawn') end
  return offer_closed(j, told, closing, closing == 'expired' and 'Offer expired' or 'Booking cancelled')
end
