--- @include "lib/public"
-- Making offers, the same way for a wave and for a late joiner.
local function offer_make(z, j, offers, id, wave, far, expires)
  redis.call('HSET', offers, id, string.format('sent %.0f %.0f %.0f %.0f', wave, z.now, expires, far))
  local pull = z.tag .. 'tech:' .. id .. ':offers'
  redis.call('ZADD', pull, expires, j.id)
  -- Who never reads his list must not grow one. After a pause offers long past their time are open still (`over`).
  if z.now > z.opened + 600000 then redis.call('ZREMRANGEBYSCORE', pull, '-inf', z.now - 600000) end
  redis.call('HINCRBY', z.tag .. 'tech:' .. id, 'asked', 1)
end

local function offer_created(z, j, to, wave, expires)
  return {type = 'offer.created', to = table.concat(to, ' '), bp = j.bp,
    data = '{"offer":{"job":' .. job_public(j) .. ',"status":"sent","wave":' .. wave .. ',"offered_at":' ..
      iso(z.now) .. ',"expires_at":' .. iso(expires) .. '}}'}
end

-- An offer does not outlive its job.
local function offer_end(z, j, offer_ms)
  local expires = z.now + offer_ms
  if j.expires > 0 and j.expires < expires then expires = j.expires end
  return expires
end

local SHOWN = 64 -- ids kept a reason; the counts are whole

local function wave_record(z, w, wave, ids)
  local parts = {}
  for why, list in pairs(w.out) do
    parts[#parts + 1] = '"' .. why .. '":{"count":' .. #list .. ',"technicians":["' ..
      table.concat(list, '","', 1, math.min(#list, SHOWN)) .. '"]}'
  end
  local inside = #ids > 0 and '"' .. table.concat(ids, '","') .. '"' or ''
  return '{"wave":' .. wave .. ',"at":' .. iso(z.now) .. ',"radius_m":' .. (w.radius > 0 and w.radius or 'null') ..
    ',"visited":' .. w.visited .. ',"in":{"count":' .. #ids .. ',"technicians":[' .. inside .. ']},"out":{' ..
    table.concat(parts, ',') .. '}}'
end
