-- Formats milliseconds since the Unix epoch as a quoted RFC 3339 time. The conversion of days to a date follows Howard
-- Hinnant, "chrono-Compatible Low-Level Date Algorithms" (civil_from_days). A time is formatted here, once for each
-- event, so that the log contains the text that is sent. The texts of a few seconds are remembered, the date of the
-- last day (it is nearly always today), and the last time, because an event contains the time of its step several
-- times.
--- @include "lib/memo"
local Iso = {}

do
  local known_day, known_date, known_ms, known_text = -1, '', -1, ''

  local function date_of(days)
    local shifted = days + 719468
    local era = math.floor(shifted / 146097)
    local doe = shifted - era * 146097
    local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
    local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
    local mp = math.floor((5 * doy + 2) / 153)
    local month = mp < 10 and mp + 3 or mp - 9
    local year = yoe + era * 400 + (month <= 2 and 1 or 0)
    return string.format('"%04d-%02d-%02dT', year, month, doy - math.floor((153 * mp + 2) / 5) + 1)
  end

  local time_of = Memo.of(function(seconds)
    local days = math.floor(seconds / 86400)
    if days ~= known_day then known_day, known_date = days, date_of(days) end
    local of_day = seconds - days * 86400
    return known_date .. string.format('%02d:%02d:%02d.', math.floor(of_day / 3600), math.floor(of_day / 60) % 60,
      of_day % 60)
  end)

  function Iso.format(ms)
    if ms ~= known_ms then
      local seconds = math.floor(ms / 1000)
      known_ms, known_text = ms, time_of(seconds) .. string.format('%03dZ"', ms - seconds * 1000)
    end
    return known_text
  end
end
