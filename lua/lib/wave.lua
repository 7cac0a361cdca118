-- The state of a search and its record, shared by waves and by the engine's own allocation.
--- @include "lib/audience"
--- @include "lib/candidates"
--- @include "lib/iso"
--- @include "lib/job_state"
--- @include "lib/limits"
--- @include "lib/ranking"
local Wave = {}

function Wave.new(zone, job, size, radius, weights, limits)
  local score, nearest = Ranking.scorer(weights, limits.share)
  local blocks = zone.tag .. 'user:' .. job.customer .. ':blocks'
  return {size = size, radius = radius, fit = {}, out = {}, visited = 0, doubtful = 0, score = score,
    nearest = nearest, asked = redis.call('HLEN', job.key .. ':offers'), limits = limits, cap = limits.cap, room = Limits.MAX_VISITS, looks = Limits.WAVE_LOOKS,
    blocks = redis.call('EXISTS', blocks) == 1 and blocks or nil}
end

-- Continues a wave of several turns from its progress in the job's `walk`: `mode reach up down began made`. `reach` is
-- the radius of the search (m), `up` and `down` are ranks (lib/search), `began` is in ms, `made` counts its offers.
function Wave.resume(zone, job, wave)
  local mode, reach, up, down, began, made = string.match(job.walk, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
  wave.mode, wave.reach = mode or 'search', tonumber(reach) or wave.radius
  wave.up, wave.down = tonumber(up), tonumber(down)
  wave.made, wave.began = tonumber(made) or 0, tonumber(began) or zone.now
  wave.size = wave.size - wave.made
end

function Wave.progress_text(wave)
  return string.format('%s %.0f %s %s %.0f %d',
    wave.mode, wave.reach, wave.up or '-', wave.down or '-', wave.began, wave.made)
end

-- Returns how much later (ms) than the first technician a technician of this rank may claim.
function Wave.head_start(wave, rank) return rank > wave.limits.first and wave.limits.head or 0 end

-- Adds the customer's preferred technician. They are asked before all others, wherever in the zone they are, and use
-- one of the wave's places.
function Wave.take_preferred(zone, job, offers, wave)
  if job.preferred == '' then return nil end
  local radius = wave.radius
  wave.radius = 0
  Candidates.evaluate(zone, job, offers, {job.preferred}, wave)
  wave.radius = radius
  if #wave.fit > 0 then wave.size, wave.room = wave.size - 1, wave.room - 1 end
  wave.preferred = table.remove(wave.fit)
  return wave.preferred
end

-- Returns from when (ms) the others may claim: while the offer of the preferred technician is open, only they may
-- claim.
function Wave.others_open_at(zone, job, offers)
  if job.alone <= zone.now then return zone.now end
  local text = redis.call('HGET', offers, job.preferred)
  return text and string.sub(text, 1, 5) == 'sent ' and job.alone or zone.now
end

-- How many ids a wave's record lists for each reason (the record's counts are complete), and how many records a job
-- has.
Wave.MAX_LISTED, Wave.MAX_RECORDS = 64, 64

function Wave.record_json(zone, wave, number, ids, more)
  local parts = {}
  for why, list in pairs(wave.out) do
    parts[#parts + 1] = '"' .. why .. '":{"count":' .. #list .. ',"technicians":["' ..
      table.concat(list, '","', 1, math.min(#list, Wave.MAX_LISTED)) .. '"]}'
  end
  local inside = #ids > 0 and '"' .. table.concat(ids, '","') .. '"' or ''
  return '{"wave":' .. number .. ',"at":' .. Iso.format(zone.now) .. ',"radius_m":' ..
    (wave.radius > 0 and wave.radius or 'null') ..
    ',"visited":' .. wave.visited .. ',"in":{"count":' .. #ids .. ',"technicians":[' .. inside .. ']},"out":{' ..
    table.concat(parts, ',') .. '}' .. (more or '') .. '}'
end

-- Stores the record of a round. Every round has a record, also one that found nobody.
function Wave.save_record(zone, job, wave, waves, number, ids, more)
  local record = Wave.record_json(zone, wave, number, ids, more)
  if redis.call('LPUSH', waves, record) > Wave.MAX_RECORDS then redis.call('LTRIM', waves, 0, Wave.MAX_RECORDS - 1) end
  JobState.note_wave(job.key, record)
end

-- Returns the event for ops: all declared waves have ended and nobody has the job.
function Wave.unfilled_event(job, words)
  local since = tonumber(redis.call('HGET', job.key, 'sought'))
  return {type = 'job.unfilled', to = Audience.channels(words, job), bp = job.bp, data = '{"job":{"id":"' .. job.id ..
    '"},"since":' .. (since and Iso.format(since) or 'null') .. ',"step":"' .. job.mode .. '"}'}
end

-- Updates the `wide` index, in which late joiners find jobs whose present wave has no radius. `job.is_wide` is whether
-- the wave before had none.
function Wave.index_wide(zone, job, wide)
  local key = zone.tag .. 'wide:' .. job.service
  if wide then redis.call('GEOADD', key, job.lon, job.lat, job.id)
  elseif job.is_wide then redis.call('ZREM', key, job.id) end
end

function Wave.searching_event(zone, job, wave, number, asked, next_at, words)
  return {type = 'job.searching', to = Audience.channels(words, job), bp = job.bp, data = '{"job":{"id":"' .. job.id ..
    '"},"wave":' .. number .. ',"asked":' .. asked .. ',"declined":' .. job.declined .. ',"radius_m":' ..
    (wave.radius > 0 and wave.radius or 'null') .. ',"next_at":' .. Iso.format(next_at) .. '}'}
end
