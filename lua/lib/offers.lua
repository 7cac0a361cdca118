-- The offers of a job: technician → record, `status wave opens expires distance`, with times in ms and the distance in
-- metres. The pull list of each technician has their offers by deadline. A `sent` offer of a job that is no longer on
-- offer counts as closed without a write: rewriting the offers and pull lists of ten losers took a third of the claim.
-- Therefore every reader of a pull list reads the job as well.
--- @include "lib/job_state"
local Offers = {}

-- How many offers one call of offer_expire closes, how long it waits before it closes more of them, and how many
-- entries of a pull list are read at once.
Offers.MAX_EXPIRED, Offers.EXPIRE_EVERY_MS, Offers.PAGE = 256, 1000, 100

-- A step reads all offers of a job if there are at most so many.
Offers.FEW = 64

function Offers.parse(text)
  local status, wave, opens, expires, distance = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {status = status, wave = tonumber(wave), opens = tonumber(opens), expires = tonumber(expires),
    distance = tonumber(distance)}
end

-- Times have 13 digits. Numbers of up to 14 digits are exact when they are joined to a text, and that takes half as long
-- as string.format.
function Offers.record(status, wave, opens, expires, distance)
  return Offers.add_distance(Offers.record_head(status, wave, opens, expires), distance)
end

-- The two parts of a record: what the offers of a wave have in common, and the distance, which is added to it.
function Offers.record_head(status, wave, opens, expires)
  return status .. ' ' .. wave .. ' ' .. opens .. ' ' .. expires .. ' '
end

function Offers.add_distance(head, distance) return head .. math.floor(distance + 0.5) end

-- Writes one record. Every write of an offer notes it for the job's state.
function Offers.put(offers, technician, record)
  redis.call('HSET', offers, technician, record)
  JobState.note_offers(offers, {technician, record})
end

function Offers.write(offers, technician, offer)
  Offers.put(offers, technician,
    Offers.record(offer.status, offer.wave, offer.opens, offer.expires, offer.distance))
end

-- Returns all offers of a job in the form of an HGETALL reply; nil if there are more than Offers.FEW.
function Offers.read_few(offers)
  return redis.call('HLEN', offers) <= Offers.FEW and redis.call('HGETALL', offers) or nil
end

-- Returns the offer of one technician; nil if there is none. `few` is the result of read_few.
function Offers.find(offers, few, technician)
  if not few then
    local text = redis.call('HGET', offers, technician)
    return text and Offers.parse(text) or nil
  end
  for i = 1, #few, 2 do
    if few[i] == technician then return Offers.parse(few[i + 1]) end
  end
  return nil
end

-- Returns the channels of the technicians whose offer among `all` is open at `at` (ms), except `excluded`. An offer
-- that opens later was not announced yet.
function Offers.open_channels(all, at, excluded)
  local channels, head, is_open = {}, nil, false
  for i = 1, #all, 2 do
    local technician, text = all[i], all[i + 1]
    -- Most offers of a job begin alike (`record_head`): what is common is parsed once.
    if not head or string.sub(text, 1, #head) ~= head then
      local opens
      head, opens = string.match(text, '^(sent %S+ (%S+) )')
      is_open = head and tonumber(opens) <= at
    end
    if is_open and technician ~= excluded then channels[#channels + 1] = 'user:' .. technician end
  end
  return channels
end
