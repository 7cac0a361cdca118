-- Who is left alone although he fits, and the numbers of it: one text made from the blueprint (engine/rules/waves.py),
-- which the job keeps for who comes late.
local function limits_parse(text)
  local first, head, alone, cap, share, jobs, grace =
    string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  return {first = tonumber(first) or 0, head = tonumber(head) or 0, alone = tonumber(alone) or 0,
    cap = tonumber(cap) or 0, share = tonumber(share) or 0, jobs = tonumber(jobs) or 0, grace = tonumber(grace) or 0}
end

-- An open offer stands, a declined one is an answer, who left does not come back; only an offer that expired or was
-- withdrawn may be made again.
local function asked_already(text)
  local head = text and string.sub(text, 1, 5)
  if not head or head == 'expir' or head == 'withd' then return nil end
  return head == 'left ' and 'left' or 'asked'
end

local MOST_OPEN = 500 -- offers of one job that are open at once: a claim tells all of them that they lost

-- How many more offers the job may have open now, and when (ms) the first of those that are open ends. Counted only
-- where there could be too many: a job has an offer of everybody who was ever asked.
local function offers_room(z, offers)
  local known = redis.call('HLEN', offers)
  if known < MOST_OPEN - 256 then return MOST_OPEN - known end
  local open, first = 0, nil
  for _, text in ipairs(redis.call('HVALS', offers)) do
    local expires = tonumber(string.match(text, '^sent %S+ %S+ (%S+)'))
    if expires and expires > z.now then
      open = open + 1
      if not first or expires < first then first = expires end
    end
  end
  return MOST_OPEN - open, first
end

-- As many are open as may be: the wave goes on when the first of them ends.
local function full_of_offers(z, offers, entry)
  local room, ends = offers_room(z, offers)
  if room >= 2 then return false end
  redis.call('ZADD', z.tag .. 'due', math.max(ends, z.now + 1000), entry)
  return true
end

-- Which of these entries of a job's bids are open: who has bid already is not invited to.
local function bidders_among(texts)
  local bidders = {}
  for i, text in pairs(texts) do
    if text and string.sub(text, 1, 5) == 'open ' then bidders[i] = true end
  end
  return bidders
end

-- The pull list says how many offers of his have not run out. That is too many by those closed when their job was
-- taken (lib/offers), so at the cap it is looked at one by one, and those are taken out of it; w.looks bounds that for
-- the whole turn.
local function at_cap(z, id, w)
  local pull = z.tag .. 'tech:' .. id .. ':offers'
  local count = redis.call('ZCOUNT', pull, z.now, '+inf')
  if count < w.cap then return false end
  for _, job in ipairs(redis.call('ZRANGEBYSCORE', pull, z.now, '+inf', 'LIMIT', 0, w.looks)) do
    if count < w.cap then break end
    w.looks = w.looks - 1
    local key = z.tag .. 'job:' .. job
    local v = redis.call('HMGET', key, 'mode', 'holder')
    local text = v[1] and v[1] ~= 'none' and v[2] == '' and redis.call('HGET', key .. ':offers', id)
    if not text or string.sub(text, 1, 5) ~= 'sent ' then
      redis.call('ZREM', pull, job)
      count = count - 1
    end
  end
  return count >= w.cap
end
