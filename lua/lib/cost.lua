-- The cost of the work. Hourly pricing: the rate for each begun hour between two moments of the job's `at`. Flat
-- pricing: the amount.
local Cost = {}

-- Returns a moment of `at` in seconds.
function Cost.moment(job, name)
  if not name then return nil end
  local pattern = '"' .. name .. '":"(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.(%d+)Z"'
  local year, month, day, hour, minute, second, ms = string.match(job.at, pattern)
  if not year then return nil end
  year, month = tonumber(year), tonumber(month)
  -- Counts days in years that begin in March (H. Hinnant, chrono-Compatible Low-Level Date Algorithms).
  if month <= 2 then year = year - 1 end
  local yoe, shifted = year % 400, (month + 9) % 12
  local days = (year - yoe) / 400 * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) +
    math.floor((153 * shifted + 2) / 5) + day - 1
  return ((days * 24 + hour) * 60 + minute) * 60 + second + ms / 1000
end

function Cost.amount(job, from, to)
  -- The first match counts: metadata of the customer may contain the same text, and comes later in the JSON.
  if string.match(job.full, '"pricing":"(%a+)"') ~= 'hourly' then return job.amount end
  local first, last = Cost.moment(job, from), Cost.moment(job, to)
  if not first or not last then return job.amount end
  return string.format('%.0f', job.amount * math.max(1, math.ceil((last - first) / 3600)))
end
