local StateEntry = {}

-- What it means to enter a state, as the blueprint declares it (engine/blueprint/compiler.py packs it): `status phase
-- mode life_ms timers`, then ` free` if its holder has room again, ` asked` if they have not accepted yet, ` waits` if
-- the life counts from the job's time on, and ` > ` with another state if the job passes on at once. '' leaves the
-- state as it is.
function StateEntry.parse(text)
  local status, phase, mode, life, timers, rest = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)(.*)$')
  if not status then return nil end
  local words = string.match(rest, '^[^>]*') .. ' '
  return {status = status, phase = phase, mode = mode, life = tonumber(life), timers = timers,
    free = string.find(words, ' free ', 1, true) ~= nil, asked = string.find(words, ' asked ', 1, true) ~= nil,
    waits = string.find(words, ' waits ', 1, true) ~= nil, on = string.match(rest, ' > (.+)$')}
end
