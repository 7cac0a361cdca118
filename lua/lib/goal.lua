-- What it means to enter a state, as the caller's blueprint has it (engine/rules/plans.py):
-- `status phase mode life_ms timers`, ` free` where its holder has room again, ` asked` where they have not accepted yet, and ` > ` with another where the job passes on at once. '' keeps the state.
local function goal_parse(text)
  local status, phase, mode, life, timers, rest = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)(.*)$')
  if not status then return nil end
  return {status = status, phase = phase, mode = mode, life = tonumber(life), timers = timers,
    free = string.find(rest, '^ free') ~= nil,
    asked = string.find(rest, '^ asked') ~= nil or string.find(rest, '^ free asked') ~= nil, on = string.match(rest, ' > (.+)$')}
end
