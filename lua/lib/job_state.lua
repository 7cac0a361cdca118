-- Collects what a script changes in the keys of a job and no event's data contains. The field `state` of a log entry
-- has it, so that SQL determines each key of the job (engine/rebuild/job_state.py): `{"<job>":{"fields":{name:text},
-- "offers":{technician:record},"waves":[record],"next":ms}}`. It has only changes, so that a claim reads nothing for
-- it. An empty text is a field that was removed. `next` is when the search for a technician continues.
--   `recorded` in the job's record says that SQL has its state from the beginning. Without it (the job is from an older
-- release, or SQL has dropped the state of a finished job), the next change of the job writes everything.
--- @include "lib/memo"
local JobState = {}

do
  local changes, keys = {}, {}
  -- Forgets what an earlier script has changed and not written. Every script begins with this.
  function JobState.begin() if #keys > 0 then changes, keys = {}, {} end end

  local function change_of(key)
    local change = changes[key]
    if not change then
      change = {}
      changes[key], keys[#keys + 1] = change, key
    end
    return change
  end

  -- The changes are joined as texts at once: tables of them took three times as long. The last value of a name counts.
  local function add(key, part, text)
    local change = change_of(key)
    change[part] = change[part] and change[part] .. ',' .. text or text
  end

  -- Most texts come again (a blueprint's times and limits, ''), and the search for special characters takes long.
  local json_of_text = Memo.of(function(text)
    return string.find(text, '[^%w_ .:-]') and cjson.encode(text) or '"' .. text .. '"'
  end)
  local function json_of(value) return type(value) == 'number' and '"' .. value .. '"' or json_of_text(value) end
  function JobState.has_changed() return #keys > 0 end
  -- The first job that has changed, as the data of an event.
  function JobState.event_data() return '{"job":{"id":"' .. string.match(keys[1], ':job:(.*)$') .. '"}}' end
  -- Notes fields of the job's hash: as members of JSON, or as names and values in turn.
  function JobState.note_members(key, members) add(key, 'fields', members) end
  function JobState.note(key, name, value, ...)
    add(key, 'fields', '"' .. name .. '":' .. json_of(value))
    if ... then return JobState.note(key, ...) end
  end

  -- Notes that the time at which the search continues has changed.
  function JobState.touch(key) change_of(key) end
  -- Notes offers: technicians and records in turn.
  function JobState.note_offers(offers, records)
    local parts = {}
    for i = 1, #records, 2 do parts[#parts + 1] = '"' .. records[i] .. '":"' .. records[i + 1] .. '"' end
    if #parts > 0 then add(string.sub(offers, 1, -#':offers' - 1), 'offers', table.concat(parts, ',')) end
  end
  function JobState.note_wave(key, record) add(key, 'waves', record) end
  -- Notes the fields that any step may change, with the values that `job` has when the state is written.
  function JobState.save(job) change_of(job.key).job = job end
  -- Passes on a job that the script has read, so that `take` need not read the fields of the job again.
  function JobState.know(job) if changes[job.key] then changes[job.key].known = job end end

  -- Notes all fields, offers and waves.
  local function note_all(key, change)
    redis.call('HSET', key, 'recorded', '1')
    change.fields, change.offers, change.waves = nil, nil, nil
    JobState.note(key, unpack(redis.call('HGETALL', key)))
    JobState.note_offers(key .. ':offers', redis.call('HGETALL', key .. ':offers'))
    local waves = redis.call('LRANGE', key .. ':waves', 0, -1)
    for i = #waves, 1, -1 do JobState.note_wave(key, waves[i]) end
  end

  local function text_of(zone, key, change)
    local id, job, known = string.sub(key, #zone.tag + 5), change.job, change.job or change.known
    if not known then
      local row = redis.call('HMGET', key, 'mode', 'holder', 'wave', 'recorded')
      known = {mode = row[1], holder = row[2], wave = tonumber(row[3]) or 0, recorded = row[4]}
    end
    if not known.recorded then note_all(key, change) end
    local parts, fields = {}, change.fields
    if job then
      fields = (fields and fields .. ',' or '') .. '"expires":"' .. job.expires .. '","last":"' .. job.last ..
        '","claimed":"' .. job.claimed .. '","mode":"' .. job.mode .. '","entered":"' .. job.entered .. '"'
    end
    if fields then parts[1] = '"fields":{' .. fields .. '}' end
    if change.offers then parts[#parts + 1] = '"offers":{' .. change.offers .. '}' end
    if change.waves then parts[#parts + 1] = '"waves":[' .. change.waves .. ']' end
    if known.mode ~= 'none' and known.mode ~= 'direct' and known.holder == '' then
      local class = known.mode == 'allocate' and 'allocate:' or 'wave:'
      local next_at = redis.call('ZSCORE', zone.tag .. 'due', class .. id .. ':' .. known.wave + 1)
      if next_at then parts[#parts + 1] = '"next":' .. next_at end
    end
    return '"' .. id .. '":{' .. table.concat(parts, ',') .. '}'
  end

  -- Returns the state of all jobs that this script has changed since the last call; nil if no job has changed.
  function JobState.take(zone)
    if #keys == 0 then return nil end
    local parts = {}
    for i, key in ipairs(keys) do parts[i] = text_of(zone, key, changes[key]) end
    changes, keys = {}, {}
    return '{' .. table.concat(parts, ',') .. '}'
  end
end
