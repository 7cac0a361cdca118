-- The times and positions that a device reports, and how far they are trusted.
--- @include "lib/memo"
local Device = {}

-- The clock. `clock` in the technician's record is `known seen when`: the trusted offset (ms ahead of ours), and an
-- offset that was read at `when` and is not trusted yet; `-` for none (engine/rules/fixes.py reads it). A live fix
-- arrives late and never early, so a reading (the time `at` of the fix less the time of its arrival) is right or too
-- small: a larger reading is better than the known offset. A smaller reading comes from a late fix, or from a clock
-- that was set back: this reading is trusted when the next live fix, some time later, gives the same reading. A reading
-- that is at most SLACK_MS behind counts as no offset. The clock of an unknown device is trusted, unless its reading is
-- more than LATE_MS behind: if the reading were the age of the fix, the fix would be useless.
Device.SLACK_MS, Device.LATE_MS = 30000, 120000

function Device.clock_text(known, seen, when)
  return (known and string.format('%.0f', known) or '-') .. ' ' ..
    (seen and string.format('%.0f %.0f', seen, when) or '- -')
end

-- Returns the clock's numbers; nil for none. Most devices have the same text, `0 - -`.
Device.parse_clock = Memo.of(function(text)
  local known, seen, when = string.match(text, '^([^ ]+) ([^ ]+) ([^ ]+)$')
  return {known = tonumber(known), seen = tonumber(seen), when = tonumber(when)}
end)

-- Returns the offset to correct by, and the new text of `clock` if it changes.
function Device.read_clock(text, now, at)
  local clock = Device.parse_clock(text)
  local known, seen, when = clock.known, clock.seen, clock.when
  local read = at - now
  if read < 0 and read >= -Device.SLACK_MS then read = 0 end
  if known and read <= known and read >= known - Device.SLACK_MS then
    return known, seen and Device.clock_text(known) or nil
  end
  local same = seen and now > when and math.abs(read - seen) <= (now - when) / 2 + 500
  if read >= (known or 0) or same or (not known and read < -Device.LATE_MS) then
    return read, Device.clock_text(read)
  end
  return known or 0, Device.clock_text(known, read, now)
end

-- Returns the trusted offset, by which a fix is corrected that was measured some time before the device sent it.
function Device.known_offset(text) return tonumber(string.match(text, '^%S+')) or 0 end

-- The position. `acc` in the record is the accuracy as a radius in metres. It is `-` if the device gave none, and
-- empty if the position was not measured but given when the technician went online: a jump from such a position proves
-- nothing.
Device.VAGUE_M, Device.RECENT_MS, Device.GOOD_M = 100, 120000, 50

-- Returns whether the fix is useless, because it is much less accurate than a recent fix.
function Device.is_vague(acc_m, was_m, age)
  return acc_m and acc_m > Device.VAGUE_M and age <= Device.RECENT_MS and acc_m > 2 * (was_m or Device.GOOD_M)
end

-- Returns whether the distance is impossible in this time: faster than JUMP_SPEED (m/s), and more than JUMP_M beyond
-- the accuracy of both positions.
Device.JUMP_SPEED, Device.JUMP_M = 100, 2500
function Device.is_jump(far, ms, acc_m, was_m)
  return far > Device.JUMP_M + Device.JUMP_SPEED * ms / 1000 + (acc_m or 0) + (was_m or 0)
end
