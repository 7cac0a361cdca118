-- Publishes a technician's position to the followers of their jobs. It is published and not appended to the log,
-- because the next fix replaces a lost one. A job leaves the technician's set in the step that ends it, so no position
-- is published for it afterwards. Gateways receive the end of a job from the log: `seq` shows whether the position or
-- the end came first.
local PositionFeed = {}

-- The most jobs for which one fix is published.
PositionFeed.MAX_JOBS = 16

-- Returns the jobs that a fix concerns: first those whose position is shared now (lib/tracking, `is_tracked`), then
-- others that the technician holds, whose position only ops receive. Each has its place and what the feed needs.
function PositionFeed.jobs_of(zone, tech)
  local jobs = {}
  if tech.load <= 0 and tech.ahead <= 0 then return jobs end
  local ids = redis.call('SMEMBERS', tech.key .. ':tracked')
  local tracked_count, is_listed = #ids, {}
  for _, id in ipairs(ids) do is_listed[id] = true end
  if #ids < PositionFeed.MAX_JOBS and #ids < tech.load + tech.ahead then
    -- One page, since a technician may hold a thousand jobs. The page has about MAX_JOBS jobs, or all jobs of a small
    -- set.
    for _, id in ipairs(redis.call('SSCAN', tech.key .. ':jobs', 0, 'COUNT', PositionFeed.MAX_JOBS)[2]) do
      if #ids < PositionFeed.MAX_JOBS and not is_listed[id] then ids[#ids + 1] = id end
    end
  end
  for i, id in ipairs(ids) do
    local row = redis.call('HMGET', zone.tag .. 'job:' .. id, 'bp', 'customer', 'status', 'scheduled', 'lat', 'lon',
      'entered', 'travel', 'arrival', 'shared_at', 'promise')
    if row[1] then
      jobs[#jobs + 1] = {id = id, bp = row[1], customer = row[2], status = row[3], scheduled = row[4] or '0',
        lat = row[5], lon = row[6], entered = row[7], travel = row[8], arrival = row[9],
        shared_at = tonumber(row[10]) or 0, promise = row[11], is_tracked = i <= tracked_count}
    end
  end
  return jobs
end

function PositionFeed.publish(zone, tech, jobs, heading, jumped)
  if #jobs == 0 then return end
  local listed = {}
  for i, job in ipairs(jobs) do
    listed[i] = '{"id":"' .. job.id .. '","bp":"' .. job.bp .. '","customer":"' .. job.customer .. '","status":"' ..
      job.status .. '","scheduled":' .. job.scheduled .. ',"lat":' .. job.lat .. ',"lon":' .. job.lon ..
      (job.is_there and ',"arrived":true}' or '}')
  end
  redis.call('SPUBLISH', zone.tag .. 'live', '{"kind":"fix","technician":"' .. tech.id .. '","lat":' .. tech.lat ..
    ',"lon":' .. tech.lon .. ',"at":' .. tech.at_text .. ',"seq":' .. string.format('%.0f', zone.seq) ..
    ',"every_s":' .. string.match(tech.rate, '^%d+') ..
    (heading ~= '' and ',"heading":' .. heading or '') .. (tech.acc ~= '-' and ',"accuracy":' .. tech.acc or '') ..
    (jumped and ',"jump":true' or '') .. ',"jobs":[' .. table.concat(listed, ',') .. ']}')
end
