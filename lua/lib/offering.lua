--- @include "lib/public"
-- Making offers, the same way for a wave and for a late joiner. One that `opens` later is not told of before, nor is
-- it counted as asked.
local function offer_make(z, j, offers, id, wave, far, expires, opens)
  redis.call('HSET', offers, id, string.format('sent %.0f %.0f %.0f %.0f', wave, opens or z.now, expires, far))
  local pull = z.tag .. 'tech:' .. id .. ':offers'
  redis.call('ZADD', pull, expires, j.id)
  -- Who never reads his list must not grow one. After a pause offers long past their time are open still (`over`).
  if z.now > z.opened + 600000 then redis.call('ZREMRANGEBYSCORE', pull, '-inf', z.now - 600000) end
  if not opens or opens <= z.now then redis.call('HINCRBY', z.tag .. 'tech:' .. id, 'asked', 1) end
end

local function offer_created(z, j, to, wave, expires)
  return {type = 'offer.created', to = table.concat(to, ' '), bp = j.bp,
    data = '{"offer":{"job":' .. job_public(j) .. ',"status":"sent","wave":' .. wave .. ',"offered_at":' ..
      iso(z.now) .. ',"expires_at":' .. iso(expires) .. '}}'}
end

-- An offer does not outlive its job.
local function offer_end(j, opens, offer_ms)
  local expires = opens + offer_ms
  if j.expires > 0 and j.expires < expires then expires = j.expires end
  return expires
end

-- The due entry of those who may claim from `opens` on.
local function opening(j, wave, opens)
  return string.format('opens:%s:%.0f:%.0f', j.id, wave, opens)
end
