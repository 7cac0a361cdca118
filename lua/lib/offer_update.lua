-- Updates the offers of a job that changed while it is on offer. Technicians with a visible open offer receive the new
-- content. Technicians who do not provide its service lose the offer.
--- @include "lib/dispatch_index"
--- @include "lib/iso"
--- @include "lib/job"
--- @include "lib/offer_closure"
--- @include "lib/offers"
local OfferUpdate = {}

function OfferUpdate.provides(zone, technician, service)
  local services = redis.call('HGET', zone.tag .. 'tech:' .. technician, 'services') or ''
  return string.find(' ' .. services .. ' ', ' ' .. service .. ' ', 1, true) ~= nil
end

-- Returns the only technician who was asked to do a direct job and has not answered; nil if there is none.
function OfferUpdate.sole_recipient(job, offers)
  if job.mode ~= 'direct' then return nil end
  local all = redis.call('HGETALL', offers)
  for i = 1, #all, 2 do if string.sub(all[i + 1], 1, 5) == 'sent ' then return all[i] end end
  return nil
end

function OfferUpdate.event(job, channels, status, wave, opens, expires)
  return {type = 'offer.updated', to = table.concat(channels, ' '), bp = job.bp, data = '{"offer":{"job":' ..
    Job.public_json(job) .. ',"status":"' .. status .. '","wave":' .. wave ..
    ',"offered_at":' .. Iso.format(tonumber(opens)) .. ',"expires_at":' .. Iso.format(tonumber(expires)) .. '}}'}
end

-- Returns the events: one for each group of equal offers.
function OfferUpdate.update_all(zone, job, offers)
  local all, alike, order, gone = redis.call('HGETALL', offers), {}, {}, {}
  for i = 1, #all, 2 do
    local id, wave, opens, expires = all[i], string.match(all[i + 1], '^sent (%S+) (%S+) (%S+)')
    if wave and not OfferUpdate.provides(zone, id, job.service) then
      Offers.put(offers, id, 'withdrawn' .. string.sub(all[i + 1], 5))
      redis.call('ZREM', zone.tag .. 'tech:' .. id .. ':offers', job.id)
      if tonumber(opens) <= zone.now then gone[#gone + 1] = 'user:' .. id end
    elseif wave and tonumber(opens) <= zone.now and tonumber(expires) > zone.now then
      local place = wave .. ' ' .. opens .. ' ' .. expires
      if not alike[place] then alike[place], order[#order + 1] = {to = {}, wave, opens, expires}, place end
      table.insert(alike[place].to, 'user:' .. id)
    end
  end
  local events = {}
  for _, place in ipairs(order) do
    local group = alike[place]
    events[#events + 1] = OfferUpdate.event(job, group.to, 'sent', group[1], group[2], group[3])
  end
  if #gone > 0 then events[#events + 1] = OfferClosure.event(job, gone, 'withdrawn', 'Offer withdrawn') end
  return events
end

-- Extends the offer of the only technician asked. They can accept only at the job's time, so the offer lasts until
-- after the new time.
function OfferUpdate.extend_sole_offer(zone, job, offers, lifetime_ms)
  job.waits = true
  DispatchIndex.add(zone, job, zone.now, lifetime_ms)
  local who = job.expires > 0 and OfferUpdate.sole_recipient(job, offers)
  if not who then return end
  local ends, text = string.format('%.0f', job.expires), redis.call('HGET', offers, who)
  Offers.put(offers, who, (string.gsub(text, '^(%S+ %S+ %S+) %S+', '%1 ' .. ends)))
  redis.call('ZADD', zone.tag .. 'tech:' .. who .. ':offers', ends, job.id)
end
