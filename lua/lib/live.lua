-- Where a technician is, to who follows his jobs: published and not appended, since the next fix makes up for a lost
-- one. A job leaves the set in the step that ends it, so that nothing is published of it afterwards; `seq` tells the
-- gateways, which hear of the end by the log, which of the two came first.
local function live_publish(z, t, heading, jumped)
  local jobs = {}
  for _, id in ipairs(redis.call('SMEMBERS', t.key .. ':jobs')) do
    local v = redis.call('HMGET', z.tag .. 'job:' .. id, 'bp', 'customer', 'status', 'scheduled')
    if v[1] then jobs[#jobs + 1] = '{"id":"' .. id .. '","bp":"' .. v[1] .. '","customer":"' .. v[2] .. '","status":"' ..
      v[3] .. '","scheduled":' .. (v[4] or '0') .. '}' end
  end
  if #jobs == 0 then return end
  redis.call('PUBLISH', z.tag .. 'live', '{"technician":"' .. t.id .. '","lat":' .. t.lat .. ',"lon":' .. t.lon ..
    ',"at":' .. string.format('%.0f', t.fix_at) .. ',"seq":' .. string.format('%.0f', z.seq) ..
    (heading ~= '' and ',"heading":' .. heading or '') .. (t.acc ~= '-' and ',"accuracy":' .. t.acc or '') ..
    (jumped and ',"jump":true' or '') .. ',"jobs":[' .. table.concat(jobs, ',') .. ']}')
end
