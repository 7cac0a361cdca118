-- Closes bids when the state of their job changes. The events are added to those of the step.
--- @include "lib/audience"
--- @include "lib/bids"
--- @include "lib/job"
local BidClose = {}

function BidClose.close(events, job, bid, status, reason, audience)
  bid.status = status
  Bids.write(job.key .. ':bids', bid)
  events[#events + 1] = Bids.event('bid.closed', job, bid, Audience.channels(audience, job), reason)
end

-- Returns the event of a changed job for the technicians with an open bid, or nil. `members` are the members of its
-- data besides the job.
function BidClose.update_event(job, members)
  local all, channels = redis.call('HGETALL', job.key .. ':bids'), {}
  for i = 1, #all, 2 do
    if string.sub(all[i + 1], 1, 5) == 'open ' then channels[#channels + 1] = 'user:' .. all[i] end
  end
  return #channels > 0 and {type = 'job.updated', to = table.concat(channels, ' '),
    data = '{"job":' .. Job.public_json(job) .. members .. '}'} or nil
end

-- Closes the open bids of a job that has left a state with this `mode`, if the job accepted bids in that state.
function BidClose.close_all(events, job, mode, reason, audience)
  if mode ~= 'bids' then return end
  local all = redis.call('HGETALL', job.key .. ':bids')
  for i = 1, #all, 2 do
    local bid = Bids.parse(all[i], all[i + 1])
    if bid.status == 'open' then
      BidClose.close(events, job, bid, reason == 'declined' and 'declined' or 'closed', reason, audience)
    end
  end
end

-- Closes the bid by which the former holder got the job, if there was such a bid.
function BidClose.lapse(events, job, former, audience)
  local text = redis.call('HGET', job.key .. ':bids', former)
  local bid = text and Bids.parse(former, text)
  if bid and bid.status == 'accepted' then BidClose.close(events, job, bid, 'closed', 'unassigned', audience) end
end
