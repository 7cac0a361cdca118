--- @include "lib/geo"
--- @include "lib/limits"
--- @include "lib/tech"

-- Who of the technicians found may be offered the job, in order. Each candidate's record is read again: the index is
-- only a hint. `wave.out` notes why the others were left out, for the wave's record.
local Candidates = {}

-- The fields of the job that only the search for technicians needs.
function Candidates.load_search_fields(job)
  local v = redis.call('HMGET', job.key, 'lat', 'lon', 'radius', 'offer_ms', 'walk', 'declined', 'preferred', 'alone',
    'opens', 'limits')
  job.lat, job.lon, job.radius, job.offer_ms = v[1], v[2], tonumber(v[3]) or 0, tonumber(v[4])
  job.walk, job.declined, job.preferred = v[5] or '', tonumber(v[6]) or 0, v[7] or ''
  job.alone, job.opens, job.limits = tonumber(v[8]) or 0, tonumber(v[9]) or 0, v[10] or ''
end

-- Whether technicians are invited now, to take the job or to bid.
function Candidates.is_inviting(job)
  return (job.mode == 'broadcast' or job.mode == 'bids') and job.holder == ''
    and job.phase ~= 'closed' and job.phase ~= 'done'
end

Candidates.FRESH_MS = 120000
-- What a position's accuracy adds to the distance, in metres: the technician may be that much farther away.
function Candidates.uncertainty_m(acc) return math.max(0, (tonumber(acc) or 0) - 100) end

-- Only the fields that decide: this is read up to 256 times a turn.
function Candidates.load(key)
  local v = redis.call('HMGET', key, 'complete', 'kyc', 'account', 'online', 'capacity', 'load', 'services', 'lat',
    'lon', 'fix_at', 'rating', 'acc')
  if not v[1] then return nil end
  return {complete = v[1], kyc = v[2], account = v[3], online = v[4], capacity = tonumber(v[5]) or 1,
    load = tonumber(v[6]) or 0, services = v[7], lat = v[8] or '', lon = v[9], fix_at = tonumber(v[10]) or 0,
    rating = v[11] or '4.5', vague = Candidates.uncertainty_m(v[12])}
end

function Candidates.exclusion(zone, job, tech)
  if not tech then return 'unknown' end
  local why = Tech.refusal(tech)
  if why then return string.lower(why) end
  if tech.online ~= '1' then return 'offline' end
  if tech.load >= tech.capacity then return 'at_capacity' end
  if tech.lat == '' then return 'no_position' end
  if zone.now - tech.fix_at > Candidates.FRESH_MS and zone.now - zone.opened > Candidates.FRESH_MS then
    return 'stale_position'
  end
  if tech.services == job.service then return nil end
  return not string.find(' ' .. tech.services .. ' ', ' ' .. job.service .. ' ', 1, true) and 'service' or nil
end

function Candidates.exclude(wave, why, id)
  local list = wave.out[why] or {}
  list[#list + 1], wave.out[why] = id, list
end

-- Adds those of `ids` who fit to wave.fit, each once a wave, with distance and score (lower is better). `enough`:
-- stop when the wave is filled by candidates who are known to be near.
function Candidates.evaluate(zone, job, offers, ids, wave, enough)
  if #ids == 0 then return end
  local held = redis.call('HMGET', offers, unpack(ids))
  local blocked = wave.blocks and redis.call('SMISMEMBER', wave.blocks, unpack(ids)) or {}
  local bidders = job.mode == 'bids' and Limits.open_bidders(redis.call('HMGET', job.key .. ':bids', unpack(ids))) or {}
  for i, id in ipairs(ids) do
    if enough and #wave.fit - wave.doubtful >= wave.size then return end
    if not wave.met[id] then
      wave.met[id] = true
      wave.visited = wave.visited + 1
      local far, tech, why = 0, nil, Limits.previous_answer(held[i])
      why = why or blocked[i] == 1 and 'blocked' or bidders[i] and 'bid' or nil
      if not why then
        tech = Candidates.load(zone.tag .. 'tech:' .. id)
        why = Candidates.exclusion(zone, job, tech)
      end
      if not why then
        far = Geo.distance_m(job.lat, job.lon, tech.lat, tech.lon)
        if wave.radius > 0 and far + tech.vague > wave.radius then why = 'too_far' end
        if not why and wave.cap > 0 and Limits.is_at_cap(zone, id, wave) then why = 'offers' end
      end
      if why then Candidates.exclude(wave, why, id) else
        local fit = {id = id, far = far + tech.vague}
        fit.score, fit.far = wave.score(zone, fit, tech), far
        wave.fit[#wave.fit + 1], wave.doubtful = fit, wave.doubtful + (tech.vague > 0 and 1 or 0)
      end
    end
  end
end
