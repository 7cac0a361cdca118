--- @include "lib/bids"
-- The end of bids by what becomes of their job, as events to be added to those of the step.

local function bid_end(events, j, b, status, reason, to)
  b.status = status
  bid_write(j.key .. ':bids', b)
  events[#events + 1] = bid_told('bid.closed', j, b, audience(to, j), reason)
end

-- The channels of those who have an open bid.
local function bids_open(j)
  local all, to = redis.call('HGETALL', j.key .. ':bids'), {}
  for i = 1, #all, 2 do
    if string.sub(all[i + 1], 1, 5) == 'open ' then to[#to + 1] = 'user:' .. all[i] end
  end
  return to
end

-- The job has left a state of this mode: were bids taken there, those still open are over.
local function bids_close(events, j, mode, reason, to)
  if mode ~= 'bids' then return end
  local all = redis.call('HGETALL', j.key .. ':bids')
  for i = 1, #all, 2 do
    local b = bid_parse(all[i], all[i + 1])
    if b.status == 'open' then
      bid_end(events, j, b, reason == 'declined' and 'declined' or 'closed', reason, to)
    end
  end
end

-- The holder has left: the bid by which he had it, if it was one, stands no more.
local function bid_lapse(events, j, former, to)
  local text = redis.call('HGET', j.key .. ':bids', former)
  local b = text and bid_parse(former, text)
  if b and b.status == 'accepted' then bid_end(events, j, b, 'closed', 'unassigned', to) end
end
