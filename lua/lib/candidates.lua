--- @include "lib/geo"
--- @include "lib/limits"
--- @include "lib/tech"

-- Selects the technicians who may be offered the job among those that a search returned. Each candidate's record is
-- read, because the index is only a hint. `wave.out` lists the others by reason, for the record of the wave.
local Candidates = {}

-- Reads the fields of the job that only the search for technicians needs.
function Candidates.load_search_fields(job)
  local row = redis.call('HMGET', job.key, 'lat', 'lon', 'radius', 'offer_ms', 'walk', 'declined', 'preferred', 'alone',
    'opens', 'limits')
  job.lat, job.lon, job.radius, job.offer_ms = row[1], row[2], tonumber(row[3]) or 0, tonumber(row[4])
  job.walk, job.declined, job.preferred = row[5] or '', tonumber(row[6]) or 0, row[7] or ''
  job.alone, job.opens, job.limits = tonumber(row[8]) or 0, tonumber(row[9]) or 0, row[10] or ''
end

-- Returns whether technicians are invited now, to take the job or to bid.
function Candidates.is_inviting(job)
  return (job.mode == 'broadcast' or job.mode == 'bids') and job.holder == ''
    and job.phase ~= 'closed' and job.phase ~= 'done'
end

-- A position is stale when it is older than this.
Candidates.FRESH_MS = 120000

-- Returns how many metres the accuracy of a position (a radius in metres) adds to the distance: the technician may be
-- that much farther away. An accuracy of up to 100 m counts as exact.
function Candidates.uncertainty_m(acc) return math.max(0, (tonumber(acc) or 0) - 100) end

-- Reads only the fields that decide, because a turn calls this up to Limits.MAX_VISITS times.
function Candidates.load(key)
  local row = redis.call('HMGET', key, 'complete', 'kyc', 'account', 'online', 'capacity', 'load', 'services', 'lat',
    'lon', 'fix_at', 'rating', 'acc')
  if not row[1] then return nil end
  return {complete = row[1], kyc = row[2], account = row[3], online = row[4], capacity = tonumber(row[5]) or 1,
    load = tonumber(row[6]) or 0, services = row[7], lat = row[8] or '', lon = row[9], fix_at = tonumber(row[10]) or 0,
    rating = row[11] or '4.5', vague = Candidates.uncertainty_m(row[12])}
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

-- Adds the technicians of `ids` who fit to wave.fit, each once a wave, with distance and score (lower is better). With
-- `enough` it stops when enough candidates whose position is exact fill the wave.
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
