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
