-- A search for a technician for a job that is not booked. It uses the functions of a real search and writes nothing.
--- @include "lib/allocation"
--- @include "lib/candidates"
--- @include "lib/geo"
--- @include "lib/limits"
--- @include "lib/matching"
--- @include "lib/named_technician"
--- @include "lib/ranking"
--- @include "lib/tech"
--- @include "lib/wave"
--- @include "lib/wave_choice"
local Preview = {}

-- Returns the wave and the technicians whom it asks, in order. `wave.undecided` is true if the search needs another
-- turn before it can decide.
function Preview.ask_named(zone, job, wave, named)
  local tech = Tech.load(zone.tag .. 'tech:' .. named)
  local why = NamedTechnician.exclusion(zone, tech, job.service, job.customer)
  wave.visited = 1
  if why then Candidates.exclude(wave, why, named) end
  return why and {} or {{id = named}}
end

function Preview.ask_best(zone, job, offers, supply, wave)
  wave.size = Allocation.MAX_CANDIDATES
  local best, more = Allocation.choose(zone, job, offers, supply, wave, job.walk == '')
  wave.undecided, wave.more = more, more
  return {best}
end

-- Returns the wave with the candidates that the first matching window would have for the job. The caller decides which
-- of them costs least (engine/rules/matching.py), so that nobody is asked here.
function Preview.read_window(zone, job, offers, supply, rule, schedule)
  local wave = Matching.new_wave(zone, job, rule, rule.reach_m, schedule)
  Matching.search(zone, job, offers, supply, wave)
  local beyond = #wave.fit == 0 and Matching.search_beyond(zone, job, offers, supply, rule, schedule)
  wave = beyond or wave
  wave.how = wave.preferred and 'preferred' or beyond and 'beyond' or 'reach'
  wave.candidates = {}
  for i, fit in ipairs(wave.fit) do wave.candidates[i] = '"' .. Matching.candidate_text(zone, wave, fit) .. '"' end
  return wave
end

function Preview.ask_wave(zone, job, offers, supply, wave, whole_zone)
  wave.room = Limits.open_offer_room(zone, offers, wave.asked)
  local best, _, undecided = WaveChoice.choose(zone, job, offers, supply, wave, whole_zone)
  wave.undecided = undecided
  return best
end

-- Examines people nearby whom the search has not read, because they could not take this job or because enough were
-- found before, so that the reply has their reasons too. Together with the candidates, at most Limits.MAX_VISITS are
-- examined.
function Preview.examine_others(zone, job, offers, people, wave)
  local count, fits = Limits.MAX_VISITS - wave.visited, #wave.fit
  if count <= 0 then return end
  local near = redis.call('GEOSEARCH', people, 'FROMLONLAT', job.lon, job.lat, 'BYRADIUS',
    wave.radius > 0 and wave.radius or Geo.WHOLE_EARTH_M, 'm', 'COUNT', count, 'ANY', 'ASC')
  Candidates.evaluate(zone, job, offers, near, wave)
  for i = fits + 1, #wave.fit do Candidates.exclude(wave, 'rank', wave.fit[i].id) end
end

-- Returns the record of the wave as JSON, with the scores of the technicians who are asked or, if the engine chooses,
-- of the best ones.
function Preview.document(zone, job, wave, best)
  local ids, scores = {}, ''
  for i, fit in ipairs(best) do ids[i] = fit.id end
  if job.mode == 'allocate' then scores = Allocation.scores_json(zone, wave)
  elseif job.mode ~= 'direct' then scores = Ranking.scores_json(zone, wave, best, #best) end
  local seen = wave.how and ',"how":"' .. wave.how .. '","candidates":[' .. table.concat(wave.candidates, ',') .. ']' or
  '' if wave.how and wave.how ~= 'reach' then wave.radius = 0 end
  return Wave.record_json(zone, wave, 1, ids, ',"scores":[' .. scores .. '],"more":' ..
    tostring(wave.more == true and not wave.how) .. seen)
end
