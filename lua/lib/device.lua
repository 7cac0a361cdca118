-- What a device reports about itself, and how far it is trusted.
local Device = {}

-- The clock. `clock` in the technician's record is `known seen when`: the trusted offset (ms ahead of ours), and one
-- that was seen at `when` and is not trusted yet; `-` for none. A live fix arrives late and never early, so the
-- newest reading, `at` less its arrival, is too small or right: a larger one is better than what is known. A smaller
-- one is a late fix, or a clock that was set back: it is trusted when the next live fix, some time later, reads the
-- same. A reading within 30 s behind is no offset. An unknown device is trusted to be right, except for a reading
-- more than two minutes behind: as an age it would make the fix useless.
Device.SLACK_MS, Device.LATE_MS = 30000, 120000

function Device.clock_text(known, seen, when)
  return (known and string.format('%.0f', known) or '-') .. ' ' ..
    (seen and string.format('%.0f %.0f', seen, when) or '- -')
end

-- Returns the offset to correct by, and the new text if it changes.
function Device.read_clock(text, now, at)
  local known, seen, when = string.match(text, '^(%S+) (%S+) (%S+)$')
  known, seen, when = tonumber(known), tonumber(seen), tonumber(when)
  local read = at - now
  if read < 0 and read >= -Device.SLACK_MS then read = 0 end
  if known and read <= known and read >= known - Device.SLACK_MS then
    return known, seen and Device.clock_text(known) or nil
  end
  local same = seen and now > when and math.abs(read - seen) <= (now - when) / 2 + 500
  if read >= (known or 0) or same or (not known and read < -Device.LATE_MS) then return read, Device.clock_text(read) end
  return known or 0, Device.clock_text(known, read, now)
end

-- The trusted offset, for what was measured earlier than it was sent.
function Device.known_offset(text) return tonumber(string.match(text, '^%S+')) or 0 end

-- The position. `acc` in the record is the radius in metres, `-` where the device did not say, and empty where the
-- position was not measured, but given on going online: a jump from such a position proves nothing.
Device.VAGUE_M, Device.RECENT_MS, Device.GOOD_M = 100, 120000, 50

-- Whether the fix is so much less accurate than a recent one that it adds nothing.
function Device.is_vague(acc, was, age)
  local new = tonumber(acc)
  return new and new > Device.VAGUE_M and age <= Device.RECENT_MS and new > 2 * (tonumber(was) or Device.GOOD_M)
end

-- Whether nobody can have moved so far since: faster than 100 m/s, and more than 2.5 km beyond what is uncertain.
-- JUMP_SPEED is in m/s.
Device.JUMP_SPEED, Device.JUMP_M = 100, 2500
function Device.is_jump(far, ms, acc, was)
  return far > Device.JUMP_M + Device.JUMP_SPEED * ms / 1000 + (tonumber(acc) or 0) + (tonumber(was) or 0)
end
