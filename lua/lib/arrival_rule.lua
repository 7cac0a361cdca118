-- What a blueprint declares about the arrival at a job's place, for the state in which the technician travels there.
--   `travel` in the job's record is `entered` (the job's version when it entered the state), and what is declared,
-- joined by slashes: `near_m at_m leave_m fixes near_audience arrived_audience late_audience`, audiences with commas.
-- engine/blueprint/compiler.py writes it; an older release wrote it without the last value. `travel` is valid only in
-- the state that the job entered with that version (lib/job).
--- @include "lib/memo"
local ArrivalRule = {}

do
  local parse = Memo.of(function(declared)
    local near_m, at_m, leave_m, fixes, near_audience, arrived_audience, late_audience =
      string.match(declared, '^(%d+)/(%d+)/(%d+)/(%d+)/([^/]*)/([^/]*)/?([^/]*)$')
    return near_m and {near_m = tonumber(near_m), at_m = tonumber(at_m), leave_m = tonumber(leave_m),
      fixes = tonumber(fixes), audiences = {['technician.near'] = string.gsub(near_audience, ',', ' '),
        ['technician.arrived'] = string.gsub(arrived_audience, ',', ' '),
        ['job.late'] = string.gsub(late_audience, ',', ' ')}} or false
  end)

  -- Returns what the blueprint declares, if the job is in the state for which `travel` in its record is valid.
  function ArrivalRule.of(job)
    local entered, declared = string.match(job.travel or '', '^(%S+) (%S+)$')
    return entered == job.entered and entered and parse(declared)
  end
end
