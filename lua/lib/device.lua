-- What a device says of itself, and how far it is believed.

-- The clock. `clock` in the technician's record is `known seen when`: the offset that is believed (ms ahead of ours),
-- and one that was seen at `when` and is not believed yet; `-` for none. A live fix is late by its way and never
-- early, so that the newest reading, `at` less its arrival, is too small or right: a larger one is better than what is
-- known. A smaller one is a late fix, or a clock that was set back: it is believed when the next live fix, some time
-- later, reads the same. A reading within 30 s behind is no offset. Who is not known yet is believed to be right, but
-- for a reading more than two minutes behind: as an age it would make the fix useless.
local SLACK_MS, LATE_MS = 30000, 120000

local function clock_text(known, seen, when)
  return (known and string.format('%.0f', known) or '-') .. ' ' .. (seen and string.format('%.0f %.0f', seen, when) or '- -')
end

-- The offset to correct by, and the new text where it changes.
local function clock_read(text, now, at)
  local known, seen, when = string.match(text, '^(%S+) (%S+) (%S+)$')
  known, seen, when = tonumber(known), tonumber(seen), tonumber(when)
  local read = at - now
  if read < 0 and read >= -SLACK_MS then read = 0 end
  if known and read <= known and read >= known - SLACK_MS then
    return known, seen and clock_text(known) or nil
  end
  local same = seen and now > when and math.abs(read - seen) <= (now - when) / 2 + 500
  if read >= (known or 0) or same or (not known and read < -LATE_MS) then return read, clock_text(read) end
  return known or 0, clock_text(known, read, now)
end

-- The offset that is believed, for what was measured earlier than it was sent.
local function clock_known(text) return tonumber(string.match(text, '^%S+')) or 0 end

-- The position. `acc` in the record is the radius in metres, `-` where the device did not say, and nothing where the
-- position was not measured, but given on going online: from that nobody has jumped.
local VAGUE_M, RECENT_MS, GOOD_M = 100, 120000, 50

-- Whether the fix is so much vaguer than a recent one that it says nothing new.
local function is_vague(acc, was, age)
  local new = tonumber(acc)
  return new and new > VAGUE_M and age <= RECENT_MS and new > 2 * (tonumber(was) or GOOD_M)
end

-- Whether nobody can have come so far since: faster than 100 m/s, and more than 2.5 km beyond what is uncertain.
local JUMP_MS, JUMP_M = 100, 2500
local function is_jump(far, ms, acc, was)
  return far > JUMP_M + JUMP_MS * ms / 1000 + (tonumber(acc) or 0) + (tonumber(was) or 0)
end
