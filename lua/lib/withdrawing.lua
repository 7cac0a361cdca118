-- Open offers taken back from a technician: those of the jobs for which `which` says so, or all without it. `tell` is
-- called with each job whose offer they have heard of. A request made to them by name is no invitation to be first: it
-- stands while they are offline. Where `which` takes it back, nobody is left to answer it: the job's time is over.
local function offers_withdraw(z, technician, which, tell)
  local pull = z.tag .. 'tech:' .. technician .. ':offers'
  for _, id in ipairs(redis.call('ZRANGE', pull, 0, -1)) do
    local j = job_load(z.tag .. 'job:' .. id)
    local offers = z.tag .. 'job:' .. id .. ':offers'
    local text = j and seeks(j) and redis.call('HGET', offers, technician)
    local opens = text and tonumber(string.match(text, '^sent %S+ (%S+)'))
    if not opens then redis.call('ZREM', pull, id)
    elseif which and which(j) or not which and j.mode ~= 'direct' then
      redis.call('HSET', offers, technician, 'withdrawn' .. string.sub(text, 5))
      redis.call('ZREM', pull, id)
      if opens <= z.now then tell(j) end
      if j.mode ~= 'direct' then wave_hasten(z, j, offers)
      else
        redis.call('HSET', j.key, 'expires', z.now)
        redis.call('ZADD', z.tag .. 'due', z.now, 'expire:' .. id)
      end
    end
  end
end
