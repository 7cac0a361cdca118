-- The plan of a command: its states, guards, effects and audiences, as JSON from engine/blueprint/compiler.py, without
-- the members that the command does not declare.
--- @include "lib/memo"
local Plan = {}

do
  local parse = Memo.of(function(json) return cjson.decode(json) end)

  function Plan.parse(json) return parse(json) end
end
