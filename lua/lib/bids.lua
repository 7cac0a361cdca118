-- Bids: technician → `status id at amount rest` in the job's bids, his latest one alone; amount `-` is none, `rest` the
-- members that do not move. That bounds them by technicians, so that who bids and withdraws keeps nobody out.
local function bid_parse(technician, text)
  local status, id, at, amount, rest = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (.*)$')
  return {technician = technician, status = status, id = id, at = tonumber(at), amount = amount, rest = rest}
end

local function bid_write(bids, b)
  redis.call('HSET', bids, b.technician, string.format('%s %s %.0f %s %s', b.status, b.id, b.at, b.amount, b.rest))
end

local function bid_shown(j, b)
  return '{"id":"' .. b.id .. '","job":"' .. j.id .. '",' .. b.rest .. ',"amount":' ..
    (b.amount == '-' and 'null' or b.amount) .. ',"status":"' .. b.status .. '","created_at":' .. iso(b.at) .. '}'
end

-- Of a bid hear its bidder, and who else the blueprint says; of those of others no bidder does.
local function bid_told(kind, j, b, to, reason)
  return {type = kind, to = 'user:' .. b.technician .. (to ~= '' and ' ' .. to or ''), bp = j.bp, data = '{"bid":' ..
    bid_shown(j, b) .. ',"job":{"id":"' .. j.id .. '"}' .. (reason and ',"reason":"' .. reason .. '"' or '') .. '}'}
end

-- Whether he could bid for such a job, whatever its state: fit, with its service, and the two do not avoid each other.
local function bid_suits(z, j, t)
  return unfit(t) == nil and string.find(' ' .. t.services .. ' ', ' ' .. j.service .. ' ', 1, true) ~= nil
    and redis.call('SISMEMBER', z.tag .. 'user:' .. j.customer .. ':blocks', t.id) == 0
end

-- Whether bids are taken now, and from whom: not from one who held the job and left.
local function bids_taken(j) return j.mode == 'bids' and seeks(j) end
local function bid_left(offer) return offer and string.sub(offer, 1, 5) == 'left ' end
