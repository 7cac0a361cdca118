local StateEntry = {}

-- What it means to enter a state, as the caller's blueprint declares it (engine/blueprint/compiler.py): `status phase mode
-- life_ms timers`, ` free` where its holder has room again, ` asked` where they have not accepted yet, ` waits` where
-- the life counts from the job's time on, and ` > ` with another where the job passes on at once. '' keeps the state.
function StateEntry.parse(text)
  local status, phase, mode, life, timers, rest = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)(.*)$')
  if not status then return nil end
  local words = string.match(rest, '^[^>]*') .. ' '
  return {status = status, phase = phase, mode = mode, life = tonumber(life), timers = timers,
    free = string.find(words, ' free ', 1, true) ~= nil, asked = string.find(words, ' asked ', 1, true) ~= nil,
    waits = string.find(words, ' waits ', 1, true) ~= nil, on = string.match(rest, ' > (.+)$')}
end
