local StateEntry = {}

-- What happens when a job enters a state, as the blueprint declares (engine/blueprint/compiler.py packs this text):
-- `status phase mode life_ms timers`, then ` free` if the holder may take another job, ` asked` if they have not
-- accepted yet, ` waits` if the life counts from the job's time on, and ` > ` with another state if the job enters that
-- state at once. '' = the state does not change.
function StateEntry.parse(text)
  local status, phase, mode, life, timers, rest = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)(.*)$')
  if not status then return nil end
  local words = string.match(rest, '^[^>]*') .. ' '
  return {status = status, phase = phase, mode = mode, life = tonumber(life), timers = timers,
    free = string.find(words, ' free ', 1, true) ~= nil, asked = string.find(words, ' asked ', 1, true) ~= nil,
    waits = string.find(words, ' waits ', 1, true) ~= nil, on = string.match(rest, ' > (.+)$')}
end
