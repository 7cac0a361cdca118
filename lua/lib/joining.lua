-- What a late joiner may be offered.
local EVERYWHERE = 21000000 -- metres: more than half way around the earth

-- Open jobs of his services, at most `limit` looked at: those within reach of some wave's radius, then those whose
-- present wave is over the whole zone.
local function jobs_around(z, t, reach, limit)
  local found, looked, met = {}, 0, {}
  local function look(index, radius, wide)
    if radius <= 0 or looked >= limit then return end
    local near = redis.call('GEOSEARCH', index, 'FROMLONLAT', t.lon, t.lat, 'BYRADIUS', radius, 'm', 'COUNT', limit,
      'ANY', 'ASC')
    for _, id in ipairs(near) do
      local j = not met[id] and looked < limit and job_load(z.tag .. 'job:' .. id) or nil
      if not met[id] then looked = looked + 1 end
      met[id] = true
      if j and invites(j) then
        job_load_search(j)
        found[#found + 1] = j
      elseif wide then redis.call('ZREM', index, id) end
    end
  end
  for service in string.gmatch(t.services, '%S+') do look(z.tag .. 'demand:' .. service, reach) end
  for service in string.gmatch(t.services, '%S+') do look(z.tag .. 'wide:' .. service, EVERYWHERE, true) end
  return found
end

-- Whether the job's present wave would offer it to him: inside its radius unless he is preferred, not asked, not
-- blocked, fit, and below the cap of open offers.
local function joins(z, j, t, far)
  if j.wave == 0 or why_out(z, j, t) then return false end
  if j.radius > 0 and far > j.radius and t.id ~= j.preferred then return false end
  if asked_already(redis.call('HGET', j.key .. ':offers', t.id)) then return false end
  if redis.call('SISMEMBER', z.tag .. 'user:' .. j.customer .. ':blocks', t.id) == 1 then return false end
  if j.mode == 'bids' and bidders_among({redis.call('HGET', j.key .. ':bids', t.id)})[1] then return false end
  if offers_room(z, j.key .. ':offers') < 1 then return false end
  local cap = limits_parse(j.limits).cap
  return cap == 0 or not at_cap(z, t.id, {cap = cap, looks = 64})
end
