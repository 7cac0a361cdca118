-- Writes what a step changes in the job's hash.
--- @include "lib/job_state"
local JobRecord = {}

do
  local function add(fields, name, value) fields[#fields + 1], fields[#fields + 2] = name, value end

  -- Writes the fields that any step may change, as far as they have changed since the job was loaded: most steps change
  -- half of them, and a field costs as much as ten lines of Lua. `row` is what Job.load read, in its order. The scripts
  -- of steps write the other fields themselves: `amount`, `frozen`, the money. `fixed` are the fixed members of a new
  -- job, names and values in turn.
  function JobRecord.save(job, fixed)
    local row, fields, unsaved = job.row or {}, fixed or {}, job.unsaved or {}
    for i = 1, #unsaved do fields[#fields + 1] = unsaved[i] end
    job.unsaved = nil
    if job.phase ~= row[4] then add(fields, 'phase', job.phase) end
    if job.holder ~= row[7] then add(fields, 'holder', job.holder) end
    if job.card ~= row[8] then add(fields, 'card', job.card) end
    if not row[13] or job.expires ~= tonumber(row[13]) then add(fields, 'expires', job.expires) end
    if job.claimed ~= row[17] then add(fields, 'claimed', job.claimed) end
    if job.mode ~= row[19] then add(fields, 'mode', job.mode) end
    if job.unaccepted ~= row[28] then add(fields, 'unaccepted', job.unaccepted or '') end
    if job.room ~= (row[30] or '') then add(fields, 'room', job.room) end
    redis.call('HSET', job.key, 'status', job.status, 'version', job.version, 'at', job.at, 'updated', job.updated,
      'last', job.last, 'entered', job.entered, unpack(fields))
    job.row = nil
    JobState.save(job)
  end
end
