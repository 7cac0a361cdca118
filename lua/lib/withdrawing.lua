-- Open offers taken back from a technician: of all jobs, or of one customer's alone. `tell` is called with each job of
-- whose offer he had heard. A request made to him by name is no invitation to be first: it stands.
local function offers_withdraw(z, technician, customer, tell)
  local pull = z.tag .. 'tech:' .. technician .. ':offers'
  for _, id in ipairs(redis.call('ZRANGE', pull, 0, -1)) do
    local j = job_load(z.tag .. 'job:' .. id)
    local offers = z.tag .. 'job:' .. id .. ':offers'
    local text = j and seeks(j) and redis.call('HGET', offers, technician)
    local opens = text and tonumber(string.match(text, '^sent %S+ (%S+)'))
    if not opens then redis.call('ZREM', pull, id)
    elseif j.mode ~= 'direct' and (not customer or j.customer == customer) then
      redis.call('HSET', offers, technician, 'withdrawn' .. string.sub(text, 5))
      redis.call('ZREM', pull, id)
      if opens <= z.now then tell(j) end
      wave_hasten(z, j, offers)
    end
  end
end
