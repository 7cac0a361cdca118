-- Publishes a technician's position to the followers of their jobs. It is published and not appended to the log,
-- because the next fix replaces a lost one. A job leaves the technician's set in the step that ends it, so no position
-- is published for it afterwards. Gateways receive the end of a job from the log: `seq` shows whether the position or
-- the end came first.
local PositionFeed = {}

function PositionFeed.publish(zone, tech, heading, jumped)
  local jobs = {}
  for _, id in ipairs(redis.call('SMEMBERS', tech.key .. ':jobs')) do
    local row = redis.call('HMGET', zone.tag .. 'job:' .. id, 'bp', 'customer', 'status', 'scheduled')
    if row[1] then
      jobs[#jobs + 1] = '{"id":"' .. id .. '","bp":"' .. row[1] .. '","customer":"' .. row[2] .. '","status":"' ..
        row[3] .. '","scheduled":' .. (row[4] or '0') .. '}'
    end
  end
  if #jobs == 0 then return end
  redis.call('PUBLISH', zone.tag .. 'live', '{"technician":"' .. tech.id .. '","lat":' .. tech.lat .. ',"lon":' ..
    tech.lon .. ',"at":' .. string.format('%.0f', tech.fix_at) .. ',"seq":' .. string.format('%.0f', zone.seq) ..
    (heading ~= '' and ',"heading":' .. heading or '') .. (tech.acc ~= '-' and ',"accuracy":' .. tech.acc or '') ..
    (jumped and ',"jump":true' or '') .. ',"jobs":[' .. table.concat(jobs, ',') .. ']}')
end
