--- @include "lib/limits"
-- Who of those found may be offered the job, in order. Each candidate's hot record is read again: the index only
-- hints. `out` notes why the others were left out, for the wave's record.
-- What only the making of offers needs.
local function job_load_search(j)
  local v = redis.call('HMGET', j.key, 'lat', 'lon', 'radius', 'offer_ms', 'walk', 'declined', 'preferred', 'alone',
    'opens', 'limits')
  j.lat, j.lon, j.radius, j.offer_ms = v[1], v[2], tonumber(v[3]) or 0, tonumber(v[4])
  j.walk, j.declined, j.preferred = v[5] or '', tonumber(v[6]) or 0, v[7] or ''
  j.alone, j.opens, j.limits = tonumber(v[8]) or 0, tonumber(v[9]) or 0, v[10] or ''
end

-- Whether technicians are invited to it now, to take it or to bid.
local function invites(j)
  return (j.mode == 'broadcast' or j.mode == 'bids') and j.holder == '' and j.phase ~= 'closed' and j.phase ~= 'done'
end

local FRESH_MS = 120000
-- What of a position's accuracy is added to the distance: they may be so much farther off.
local function vagueness(acc) return math.max(0, (tonumber(acc) or 0) - 100) end

-- The fields that decide, and no more: this is read 256 times a look.
local function candidate_load(key)
  local v = redis.call('HMGET', key, 'complete', 'kyc', 'account', 'online', 'capacity', 'load', 'services', 'lat',
    'lon', 'fix_at', 'rating', 'acc')
  if not v[1] then return nil end
  return {complete = v[1], kyc = v[2], account = v[3], online = v[4], capacity = tonumber(v[5]) or 1,
    load = tonumber(v[6]) or 0, services = v[7], lat = v[8] or '', lon = v[9], fix_at = tonumber(v[10]) or 0,
    rating = v[11] or '4.5', vague = vagueness(v[12])}
end

local function why_out(z, j, t)
  if not t then return 'unknown' end
  local why = unfit(t)
  if why then return string.lower(why) end
  if t.online ~= '1' then return 'offline' end
  if t.load >= t.capacity then return 'at_capacity' end
  if t.lat == '' then return 'no_position' end
  if z.now - t.fix_at > FRESH_MS and z.now - z.opened > FRESH_MS then return 'stale_position' end
  if t.services ~= j.service and not string.find(' ' .. t.services .. ' ', ' ' .. j.service .. ' ', 1, true) then
    return 'service'
  end
  return nil
end

local function note(w, why, id)
  local list = w.out[why] or {}
  list[#list + 1], w.out[why] = id, list
end

-- Add those of `ids` who fit to w.fit, each once a wave, with distance and score (lower is better); `enough`: stop
-- when the wave is filled, by those of whom it is known that they are near.
local function consider(z, j, offers, ids, w, enough)
  if #ids == 0 then return end
  local held = redis.call('HMGET', offers, unpack(ids))
  local blocked = w.blocks and redis.call('SMISMEMBER', w.blocks, unpack(ids)) or {}
  local bidders = j.mode == 'bids' and bidders_among(redis.call('HMGET', j.key .. ':bids', unpack(ids))) or {}
  for i, id in ipairs(ids) do
    if enough and #w.fit - w.doubtful >= w.size then return end
    if not w.met[id] then
      w.met[id] = true
      w.visited = w.visited + 1
      local far, why, t = 0, asked_already(held[i]) or (blocked[i] == 1 and 'blocked' or bidders[i] and 'bid' or nil), nil
      if not why then
        t = candidate_load(z.tag .. 'tech:' .. id)
        why = why_out(z, j, t)
      end
      if not why then
        far = metres(j.lat, j.lon, t.lat, t.lon)
        if w.radius > 0 and far + t.vague > w.radius then why = 'too_far' end
        if not why and w.cap > 0 and at_cap(z, id, w) then why = 'offers' end
      end
      if why then note(w, why, id) else
        local fit = {id = id, far = far + t.vague}
        fit.score, fit.far = w.score(z, fit, t), far
        w.fit[#w.fit + 1], w.doubtful = fit, w.doubtful + (t.vague > 0 and 1 or 0)
      end
    end
  end
end
