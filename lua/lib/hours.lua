-- What work costs. By the hour: the rate for each hour begun between two moments of the job's `at`; else the amount.
local function moment(j, name)
  if not name then return nil end
  local y, mo, d, h, mi, s, ms = string.match(j.at, '"' .. name .. '":"(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.(%d+)Z"')
  if not y then return nil end
  y, mo = tonumber(y), tonumber(mo)
  -- Days since 1970-03-01 in years that begin in March (H. Hinnant, chrono-Compatible Low-Level Date Algorithms).
  if mo <= 2 then y = y - 1 end
  local yoe, m = y % 400, (mo + 9) % 12
  local days = (y - yoe) / 400 * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) +
    math.floor((153 * m + 2) / 5) + d - 1
  return ((days * 24 + h) * 60 + mi) * 60 + s + ms / 1000
end

local function cost(j, from, to)
  -- The first one: what the customer wrote into metadata, which may read the same, stands behind it.
  if string.match(j.full, '"pricing":"(%a+)"') ~= 'hourly' then return j.amount end
  local first, last = moment(j, from), moment(j, to)
  if not first or not last then return j.amount end
  return string.format('%.0f', j.amount * math.max(1, math.ceil((last - first) / 3600)))
end
