-- Limits on offers to technicians who fit. The numbers are one text, `first head alone cap share jobs grace`, made from
-- the blueprint (engine/blueprint/wave_plan.py) and stored in the job for late joiners. The `first` technicians by rank
-- have a head start of `head` ms, a preferred one of `alone` ms. `cap` is the most open offers of a technician, `share`
-- is the number of places of a wave for technicians who won fewer than `jobs` jobs; an acceptance may be `grace` ms
-- late.
--- @include "lib/memo"
local Limits = {}

-- How many candidates one turn of a search reads.
Limits.MAX_VISITS = 256
-- The most offers of one job that may be open at once. The limit exists because a claim notifies the technicians of all
-- of them.
Limits.MAX_OPEN_OFFERS = 500
-- The shortest time for which a wave is postponed if MAX_OPEN_OFFERS are open.
Limits.POSTPONE_MS = 1000
-- How many offers of technicians at their cap a turn of a wave, and of a late joiner's search, reads again.
Limits.WAVE_LOOKS, Limits.JOIN_LOOKS = 128, 64

Limits.parse = Memo.of(function(text)
  local first, head, alone, cap, share, jobs, grace =
    string.match(text, '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+)$')
  return {first = tonumber(first) or 0, head = tonumber(head) or 0, alone = tonumber(alone) or 0,
    cap = tonumber(cap) or 0, share = tonumber(share) or 0, jobs = tonumber(jobs) or 0, grace = tonumber(grace) or 0}
end)

-- Returns why the technician may not be offered the job again: their offer is open, they answered the offer, or they
-- held the job and left. An offer that expired or was withdrawn may be made again.
function Limits.previous_answer(text)
  local head = text and string.sub(text, 1, 5)
  if not head or head == 'expir' or head == 'withd' then return nil end
  return head == 'left ' and 'left' or 'asked'
end

-- Returns how many more offers the job may have open now, and when (ms) the first open one ends. Open offers are
-- counted only if there could be too many: the job has an offer for everybody who was ever asked. `known` is the number
-- of these offers, if the caller has counted them.
function Limits.open_offer_room(zone, offers, known)
  known = known or redis.call('HLEN', offers)
  if known < Limits.MAX_OPEN_OFFERS - Limits.MAX_VISITS then return Limits.MAX_OPEN_OFFERS - known end
  local open, first = 0, nil
  for _, text in ipairs(redis.call('HVALS', offers)) do
    local expires = tonumber(string.match(text, '^sent %S+ %S+ (%S+)'))
    if expires and expires > zone.now then
      open = open + 1
      if not first or expires < first then first = expires end
    end
  end
  return Limits.MAX_OPEN_OFFERS - open, first
end

-- Postpones the wave until the first open offer ends (`ends`, ms), if the job may have no more open offers than `room`.
-- Returns whether the wave was postponed.
function Limits.postpone_when_full(zone, room, ends, entry)
  if room >= 2 then return false end
  redis.call('ZADD', zone.tag .. 'due', math.max(ends, zone.now + Limits.POSTPONE_MS), entry)
  return true
end

-- Returns which of these bids of a job are open. Technicians with an open bid are not invited again.
function Limits.open_bidders(texts)
  local bidders = {}
  for i, text in pairs(texts) do
    if text and string.sub(text, 1, 5) == 'open ' then bidders[i] = true end
  end
  return bidders
end

-- Returns whether the technician has as many open offers as the cap allows. The pull list also counts offers that were
-- closed when their job was taken (lib/offers). Therefore each offer is checked at the cap, and closed ones are
-- removed. wave.looks bounds these checks for the whole turn.
function Limits.is_at_cap(zone, id, wave)
  local pull = zone.tag .. 'tech:' .. id .. ':offers'
  local count = redis.call('ZCOUNT', pull, zone.now, '+inf')
  if count < wave.cap then return false end
  for _, job_id in ipairs(redis.call('ZRANGEBYSCORE', pull, zone.now, '+inf', 'LIMIT', 0, wave.looks)) do
    if count < wave.cap then break end
    wave.looks = wave.looks - 1
    local key = zone.tag .. 'job:' .. job_id
    local row = redis.call('HMGET', key, 'mode', 'holder')
    local text = row[1] and row[1] ~= 'none' and row[2] == '' and redis.call('HGET', key .. ':offers', id)
    if not text or string.sub(text, 1, 5) ~= 'sent ' then
      if not wave.reads_only then redis.call('ZREM', pull, job_id) end
      count = count - 1
    end
  end
  return count >= wave.cap
end
