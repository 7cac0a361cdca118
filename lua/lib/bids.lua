-- The bids of a job: technician → record, `status id at amount rest`. `at` is in ms, an amount of `-` means no amount,
-- and `rest` contains the members that do not change, as JSON. Only the latest bid of each technician is stored. This
-- bounds the size of the hash, so that nobody can fill the hash by bidding and withdrawing.
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/tech"
local Bids = {}

function Bids.parse(technician, text)
  local status, id, at, amount, rest = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (.*)$')
  return {technician = technician, status = status, id = id, at = tonumber(at), amount = amount, rest = rest}
end

function Bids.write(bids, bid)
  redis.call('HSET', bids, bid.technician,
    string.format('%s %s %.0f %s %s', bid.status, bid.id, bid.at, bid.amount, bid.rest))
end

function Bids.json(job, bid)
  return '{"id":"' .. bid.id .. '","job":"' .. job.id .. '",' .. bid.rest .. ',"amount":' ..
    (bid.amount == '-' and 'null' or bid.amount) .. ',"status":"' .. bid.status .. '","created_at":' ..
      Iso.format(bid.at) .. '}'
end

-- The event of a bid is sent to the bidder and to the channels that the blueprint names. No other bidder receives the
-- event.
function Bids.event(kind, job, bid, channels, reason)
  return {type = kind, to = 'user:' .. bid.technician .. (channels ~= '' and ' ' .. channels or ''), bp = job.bp,
    data = '{"bid":' .. Bids.json(job, bid) .. ',"job":{"id":"' .. job.id .. '"}' ..
      (reason and ',"reason":"' .. reason .. '"' or '') .. '}'}
end

-- Returns whether the technician could bid for this job in some state of the job: they may work, they provide its
-- service, and neither side has blocked the other.
function Bids.is_eligible(zone, job, tech)
  return Tech.refusal(tech) == nil
    and string.find(' ' .. tech.services .. ' ', ' ' .. job.service .. ' ', 1, true) ~= nil
    and redis.call('SISMEMBER', zone.tag .. 'user:' .. job.customer .. ':blocks', tech.id) == 0
end

-- Returns whether the job accepts bids now.
function Bids.accepts_bids(job) return job.mode == 'bids' and Job.is_searching(job) end

-- Returns whether the offer belongs to a technician who held the job and left. Such a technician may not bid.
function Bids.has_left(offer_text) return offer_text and string.sub(offer_text, 1, 5) == 'left ' end
