-- Telling those who held an open offer that it is closed, and why.
local function offer_closed(j, to, reason, message, actor, cause)
  return {type = 'offer.closed', to = table.concat(to, ' '), bp = j.bp, actor = actor, cause = cause,
    data = '{"job":{"id":"' .. j.id .. '"},"reason":"' .. reason .. '","message":"' .. message .. '"}'}
end
