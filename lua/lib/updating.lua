--- @include "lib/offering"
--- @include "lib/closed"
-- A job that changed while it is on offer: who holds an open offer that he may see is told what it is by now; who does
-- not do what is asked for any more loses it.
local function serves(z, technician, service)
  local services = redis.call('HGET', z.tag .. 'tech:' .. technician, 'services') or ''
  return string.find(' ' .. services .. ' ', ' ' .. service .. ' ', 1, true) ~= nil
end

-- Whose answer a job waits for that looks for nobody else.
local function asked_alone(j, offers)
  if j.mode ~= 'direct' then return nil end
  local all = redis.call('HGETALL', offers)
  for i = 1, #all, 2 do if string.sub(all[i + 1], 1, 5) == 'sent ' then return all[i] end end
  return nil
end

local function offer_updated(j, to, status, wave, opens, expires)
  return {type = 'offer.updated', to = table.concat(to, ' '), bp = j.bp, data = '{"offer":{"job":' .. job_public(j) ..
    ',"status":"' .. status .. '","wave":' .. wave .. ',"offered_at":' .. iso(tonumber(opens)) .. ',"expires_at":' ..
    iso(tonumber(expires)) .. '}}'}
end

-- The events, one for all whose offers are alike.
local function offers_updated(z, j, offers)
  local all, alike, order, gone = redis.call('HGETALL', offers), {}, {}, {}
  for i = 1, #all, 2 do
    local id, wave, opens, expires = all[i], string.match(all[i + 1], '^sent (%S+) (%S+) (%S+)')
    if wave and not serves(z, id, j.service) then
      redis.call('HSET', offers, id, 'withdrawn' .. string.sub(all[i + 1], 5))
      redis.call('ZREM', z.tag .. 'tech:' .. id .. ':offers', j.id)
      if tonumber(opens) <= z.now then gone[#gone + 1] = 'user:' .. id end
    elseif wave and tonumber(opens) <= z.now and tonumber(expires) > z.now then
      local place = wave .. ' ' .. opens .. ' ' .. expires
      if not alike[place] then alike[place], order[#order + 1] = {to = {}, wave, opens, expires}, place end
      table.insert(alike[place].to, 'user:' .. id)
    end
  end
  local events = {}
  for _, place in ipairs(order) do
    local a = alike[place]
    events[#events + 1] = offer_updated(j, a.to, 'sent', a[1], a[2], a[3])
  end
  if #gone > 0 then events[#events + 1] = offer_closed(j, gone, 'withdrawn', 'Offer withdrawn') end
  return events
end

-- Who alone is asked, and can say yes at the job's time only, has until after the new one.
local function asked_until(z, j, offers, life)
  j.waits = true
  seeking_begins(z, j, z.now, life)
  local who = j.expires > 0 and asked_alone(j, offers)
  if not who then return end
  local ends, text = string.format('%.0f', j.expires), redis.call('HGET', offers, who)
  redis.call('HSET', offers, who, (string.gsub(text, '^(%S+ %S+ %S+) %S+', '%1 ' .. ends)))
  redis.call('ZADD', z.tag .. 'tech:' .. who .. ':offers', ends, j.id)
end

-- Looked for anew, from wave one: another place, service or time. Offers that are out stay out.
local function seeking_elsewhere(z, j, at, life)
  redis.call('HSET', j.key, 'wave', 0, 'walk', '')
  j.wave = 0
  seeking_begins(z, j, at, life)
end
