-- What work costs. Hourly pricing: the rate for each hour begun between two moments of the job's `at`. Flat pricing:
-- the amount.
local Cost = {}

-- A moment of `at` in seconds.
function Cost.moment(job, name)
  if not name then return nil end
  local y, mo, d, h, mi, s, ms = string.match(job.at, '"' .. name .. '":"(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.(%d+)Z"')
  if not y then return nil end
  y, mo = tonumber(y), tonumber(mo)
  -- Days since 1970-03-01 in years that begin in March (H. Hinnant, chrono-Compatible Low-Level Date Algorithms).
  if mo <= 2 then y = y - 1 end
  local yoe, m = y % 400, (mo + 9) % 12
  local days = (y - yoe) / 400 * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) +
    math.floor((153 * m + 2) / 5) + d - 1
  return ((days * 24 + h) * 60 + mi) * 60 + s + ms / 1000
end

function Cost.amount(job, from, to)
  -- The first match counts: metadata written by the customer may read the same, and stands behind it.
  if string.match(job.full, '"pricing":"(%a+)"') ~= 'hourly' then return job.amount end
  local first, last = Cost.moment(job, from), Cost.moment(job, to)
  if not first or not last then return job.amount end
  return string.format('%.0f', job.amount * math.max(1, math.ceil((last - first) / 3600)))
end
