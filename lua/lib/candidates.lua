-- Selects the technicians who may be offered the job among those that a search returned: `wave.fit`. `wave.out` lists
-- the others by reason, for the record of the wave.
--- @include "lib/eligibility"
--- @include "lib/limits"
--- @include "lib/schedule"
--- @include "lib/summaries"
local Candidates = {}

-- How many technicians of a sorted result are read at once: in most cases one of the nearest fits.
Candidates.SLICE = 32

-- Reads the fields of the job that only the search for technicians needs.
function Candidates.load_search_fields(job)
  local row = redis.call('HMGET', job.key, 'lat', 'lon', 'radius', 'offer_ms', 'walk', 'declined', 'preferred', 'alone',
    'opens', 'limits', 'release', 'asked', 'scheduled', 'window')
  job.lat, job.lon, job.radius, job.offer_ms = row[1], row[2], tonumber(row[3]) or 0, tonumber(row[4])
  job.is_wide, job.release, job.asked = row[3] == '0', tonumber(row[11]) or 0, tonumber(row[12]) or 0
  job.walk, job.declined, job.preferred = row[5] or '', tonumber(row[6]) or 0, row[7] or ''
  job.alone, job.opens, job.limits = tonumber(row[8]) or 0, tonumber(row[9]) or 0, row[10] or ''
  job.scheduled, job.window = row[13], row[14]
end

-- Returns whether technicians are invited now, to take the job or to bid.
function Candidates.is_inviting(job)
  return (job.mode == 'broadcast' or job.mode == 'bids') and job.holder == ''
    and job.phase ~= 'closed' and job.phase ~= 'done'
end

function Candidates.exclude(wave, why, id)
  local list = wave.out[why] or {}
  list[#list + 1], wave.out[why] = id, list
end

-- Returns the technicians whom the wave has visited already: nobody is judged twice.
function Candidates.visited(wave)
  local met = {}
  if wave.visited == 0 then return met end
  for _, fit in ipairs(wave.fit) do met[fit.id] = true end
  for _, list in pairs(wave.out) do for _, id in ipairs(list) do met[id] = true end end
  if wave.preferred then met[wave.preferred.id] = true end
  return met
end

-- Returns whether another visit leaves the candidate no time for the job.
function Candidates.is_busy(zone, job, fit, rule)
  local visit = Schedule.visit_of(zone, job, rule, fit.far)
  return Schedule.conflict(zone, job, zone.tag .. 'tech:' .. fit.id, rule, visit) ~= nil
end

-- Returns the rule of schedules, or nil if no technician of `ids` has a visit in their schedule: then one command
-- replaces a command for each candidate.
function Candidates.schedule_rule(zone, ids, rule)
  if not rule then return nil end
  local plans, tag = {}, zone.tag .. 'tech:'
  for i, id in ipairs(ids) do plans[i] = tag .. id .. ':plan' end
  return redis.call('EXISTS', unpack(plans)) > 0 and rule or nil
end

-- Adds the technicians of `ids` who fit to wave.fit, each once a wave, with distance and score (lower is better). With
-- `enough` it stops when enough candidates whose position is exact fill the wave.
function Candidates.evaluate(zone, job, offers, ids, wave, enough)
  if #ids == 0 then return end
  if enough and #ids > Candidates.SLICE then
    for first = 1, #ids, Candidates.SLICE do
      if #wave.fit - wave.doubtful >= wave.size then return end
      Candidates.evaluate(zone, job, offers, {unpack(ids, first, math.min(#ids, first + Candidates.SLICE - 1))}, wave, enough)
    end
    return
  end
  local summaries = Summaries.read(zone, ids)
  local held = wave.asked > 0 and redis.call('HMGET', offers, unpack(ids)) or {}
  local blocked = wave.blocks and redis.call('SMISMEMBER', wave.blocks, unpack(ids)) or {}
  local bidders = job.mode == 'bids' and Limits.open_bidders(redis.call('HMGET', job.key .. ':bids', unpack(ids))) or {}
  local judge, fits, met = Eligibility.judge_of(zone, job), wave.fit, Candidates.visited(wave)
  local rule = Candidates.schedule_rule(zone, ids, wave.rule)
  for i, id in ipairs(ids) do
    if enough and #fits - wave.doubtful >= wave.size then return end
    if not met[id] then
      wave.visited = wave.visited + 1
      local fit, rating, workload
      local why = held[i] and Limits.previous_answer(held[i]) or blocked[i] == 1 and 'blocked' or bidders[i] and 'bid'
      if not why then
        why, fit, rating, workload = judge(id, summaries[i] or '')
        why = why or wave.radius > 0 and fit.far + fit.uncertainty_m > wave.radius and 'too_far'
          or wave.cap > 0 and Limits.is_at_cap(zone, id, wave) and 'offers'
          or rule and Candidates.is_busy(zone, job, fit, rule) and 'schedule_conflict'
      end
      if why then Candidates.exclude(wave, why, id) else
        fit.score = wave.score(zone, fit, rating, workload)
        if wave.explains then fit.rating, fit.workload = rating, workload end
        fits[#fits + 1], wave.doubtful = fit, wave.doubtful + (fit.uncertainty_m > 0 and 1 or 0)
      end
    end
  end
end
