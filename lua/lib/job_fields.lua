-- Writes fields of a job's hash that no event's data contains. The log has them in its field `state` (lib/job_state).
--- @include "lib/job_state"
local JobFields = {}

-- Writes fields: names and values in turn.
function JobFields.set(key, ...)
  redis.call('HSET', key, ...)
  JobState.note(key, ...)
end

-- Writes one field whose text differs each time and has no special characters: the cache of encoded texts is not used.
function JobFields.set_unique(key, name, text)
  redis.call('HSET', key, name, text)
  JobState.note_members(key, '"' .. name .. '":"' .. text .. '"')
end

-- Writes a field as `set_unique` does, but later, with the other fields of a step: every step ends with JobRecord.save,
-- which writes all of them by one command. No script may read the field from Redis before that.
function JobFields.set_with_step(job, name, text)
  local fields = job.unsaved or {}
  fields[#fields + 1], fields[#fields + 2], job.unsaved = name, text, fields
  JobState.note_members(job.key, '"' .. name .. '":"' .. text .. '"')
end

-- Notes that the time at which the search continues has changed.
function JobFields.touch(key) JobState.touch(key) end

-- Removes a field. Returns 1 if it was there.
function JobFields.remove(key, name)
  local removed = redis.call('HDEL', key, name)
  if removed == 1 then JobState.note(key, name, '') end
  return removed
end

-- Adds `by` to a number and returns the sum.
function JobFields.increment(key, name, by)
  local sum = redis.call('HINCRBY', key, name, by)
  JobState.note(key, name, sum)
  return sum
end
