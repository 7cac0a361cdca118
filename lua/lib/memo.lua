-- Functions that remember their results. The same few texts come with nearly every call (plans, state entries,
-- audiences), and the library's state lives as long as the library: parsing them each time took a fifth of a step.
local Memo = {}

-- How many results one function remembers. Beyond that it forgets all of them and starts again.
Memo.MAX = 256

-- Returns a function of one text (or number) that calls `parse` once for each text. Nobody may change what it returns.
function Memo.of(parse)
  local known, count = {}, 0
  return function(text)
    local result = known[text]
    if result == nil then
      if count == Memo.MAX then known, count = {}, 0 end
      result = parse(text)
      known[text], count = result, count + 1
    end
    return result
  end
end
