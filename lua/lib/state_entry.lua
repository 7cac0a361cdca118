-- What happens when a job enters a state, as the blueprint declares (engine/blueprint/compiler.py packs this text):
-- `status phase mode lifetime_ms timers`, then ` free` if the holder may take another job, ` asked` if they have not
-- accepted yet, ` waits` if the lifetime counts from the job's time on, ` tracks/<ms>` if the holder's position is
-- shared from this many ms before that time on, ` travels/<arrival>` if they are on the way (lib/arrival), `
-- matches/<rule>` if the job waits for matching windows (lib/window), and ` > ` with the next state entry if the job
-- enters another state at once. '' = the state does not change.
--- @include "lib/memo"
local StateEntry = {}

do
  local parse = Memo.of(function(text)
    local status, phase, mode, lifetime_ms, timers, rest = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+)(.*)$')
    if not status then return false end
    local words = string.match(rest, '^[^>]*') .. ' '
    return {status = status, phase = phase, mode = mode, lifetime_ms = tonumber(lifetime_ms), timers = timers,
      free = string.find(words, ' free ', 1, true) ~= nil, asked = string.find(words, ' asked ', 1, true) ~= nil,
      track_lead_ms = string.match(words, ' tracks/(%d+) '),
      travel = string.match(words, ' travels/(%S+) '), window = string.match(words, ' matches/(%S+) '),
      waits = string.find(words, ' waits ', 1, true) ~= nil, next_entry = string.match(rest, ' > (.+)$')}
  end)

  function StateEntry.parse(text) return parse(text) or nil end
end
