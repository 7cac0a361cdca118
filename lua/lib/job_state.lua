-- What a script changes in the keys of a job and no event's data contains. The log's field `state` has it, so that SQL
-- determines each key of the job (engine/rebuild/job_state.py reads it): `{"<job>":{"fields":{name:text},"offers":
-- {technician:record},"waves":[record],"next":ms}}`. It has what changed and not all: a claim reads nothing for it. An
-- empty text is a field that was removed. `next` is when the search continues, of a job that looks for a technician.
--   `recorded` in the job's record says that SQL has its state from the beginning. Without it (the job is from an older
-- release, or SQL has dropped the state of a finished job), the next change of the job writes everything.
local JobState = {}

do
  local changes, keys = {}, {}

  -- Forgets what an earlier script has changed and not written. Every script begins with this.
  function JobState.begin() if #keys > 0 then changes, keys = {}, {} end end

  local function change_of(key)
    local change = changes[key]
    if not change then
      change = {fields = {}, offers = {}, waves = {}}
      changes[key], keys[#keys + 1] = change, key
    end
    return change
  end

  function JobState.has_changed() return #keys > 0 end

  -- The first job that has changed, as the data of an event.
  function JobState.event_data() return '{"job":{"id":"' .. string.match(keys[1], '[^:]*$') .. '"}}' end

  -- Notes fields (names and texts in turn) that are in the job's hash by other means.
  function JobState.note(key, ...)
    local change, all = change_of(key), {...}
    for i = 1, #all, 2 do change.fields[all[i]] = all[i + 1] end
  end

  function JobState.note_offer(offers, technician, record)
    change_of(string.sub(offers, 1, -#':offers' - 1)).offers[technician] = record
  end

  function JobState.note_wave(key, record) table.insert(change_of(key).waves, record) end

  -- Notes the fields that any step may change, with the values that `job` has when the state is written.
  function JobState.save(job) change_of(job.key).job = job end

  local function json_of(text)
    text = tostring(text)
    return string.find(text, '[^%w_ .:-]') and cjson.encode(text) or '"' .. text .. '"'
  end

  local function members(map)
    local parts = {}
    for name, text in pairs(map) do parts[#parts + 1] = json_of(name) .. ':' .. json_of(text) end
    return parts
  end

  -- Notes all fields, offers and waves.
  local function note_all(key, change)
    redis.call('HSET', key, 'recorded', '1')
    local row, offers = redis.call('HGETALL', key), redis.call('HGETALL', key .. ':offers')
    for i = 1, #row, 2 do change.fields[row[i]] = row[i + 1] end
    for i = 1, #offers, 2 do change.offers[offers[i]] = offers[i + 1] end
    change.waves = {}
    for i, record in ipairs(redis.call('LRANGE', key .. ':waves', 0, -1)) do table.insert(change.waves, 1, record) end
  end

  -- Returns when the search continues (ms), or nil.
  local function next_search(zone, id, mode, wave)
    local class, number = mode == 'allocate' and 'allocate:' or 'wave:', string.format('%d', wave + 1)
    return redis.call('ZSCORE', zone.tag .. 'due', class .. id .. ':' .. number)
  end

  local function text_of(zone, key, change)
    local id, job = string.match(key, '[^:]*$'), change.job
    local known = job and {job.mode, job.holder, job.wave, job.recorded}
      or redis.call('HMGET', key, 'mode', 'holder', 'wave', 'recorded')
    if not known[4] then note_all(key, change) end
    local fields, offers, text = members(change.fields), members(change.offers), ''
    if job then
      fields[#fields + 1] = '"expires":"' .. job.expires .. '","last":"' .. job.last .. '","claimed":"' .. job.claimed ..
        '","mode":"' .. job.mode .. '","entered":"' .. job.entered .. '"'
    end
    if #fields > 0 then text = ',"fields":{' .. table.concat(fields, ',') .. '}' end
    if #offers > 0 then text = text .. ',"offers":{' .. table.concat(offers, ',') .. '}' end
    if #change.waves > 0 then text = text .. ',"waves":[' .. table.concat(change.waves, ',') .. ']' end
    local searches = known[1] ~= 'none' and known[1] ~= 'direct' and known[2] == ''
    local next_at = searches and next_search(zone, id, known[1], known[3])
    if next_at then text = text .. ',"next":' .. next_at end
    return '"' .. id .. '":{' .. string.sub(text, 2) .. '}'
  end

  -- Returns the state of all jobs that this script has changed since the last call; nil if none has.
  function JobState.take(zone)
    if #keys == 0 then return nil end
    local parts = {}
    for i, key in ipairs(keys) do parts[i] = text_of(zone, key, changes[key]) end
    changes, keys = {}, {}
    return '{' .. table.concat(parts, ',') .. '}'
  end
end
