-- The timers of a job's state. Each is a scheduled task, `timer:<job>:<entered>:<name>`. `timers` in the job's record
-- has the timers that have not run, of the last state with timers that the job entered: `entered name/ms …`, with the
-- time of each timer. Therefore a timer does not run twice after a rebuild of the job. `since` is when that state
-- began.
--- @include "lib/job_fields"
local Timers = {}

-- Starts the timers of a state entry, `name/ms` joined by commas. Each ends the given number of ms after now, or after
-- `timers_from` if that is later: a technician who gets a job at its booking need not answer before its release.
function Timers.start(zone, job, timers)
  local text = job.entered
  for name, ms in string.gmatch(timers, '(%w+)/(%d+)') do
    local at = string.format('%.0f', math.max(zone.now, job.timers_from or 0) + ms)
    redis.call('ZADD', zone.tag .. 'due', at, 'timer:' .. job.id .. ':' .. job.entered .. ':' .. name)
    text = text .. ' ' .. name .. '/' .. at
  end
  JobFields.set(job.key, 'since', zone.now, 'watch', '', 'timers', text)
end

-- Notes that the timer of the scheduled task `entry` has run.
function Timers.finish(job_key, entry)
  local entered, name = string.match(entry, '^timer:[^:]+:(%d+):(%w+)$')
  local text = entered and redis.call('HGET', job_key, 'timers')
  if not text or string.find(text, entered .. ' ', 1, true) ~= 1 then return end
  JobFields.set(job_key, 'timers', (string.gsub(text, ' ' .. name .. '/%d+', '')))
end
