--- @include "lib/hours"
--- @include "lib/relation"
--- @include "lib/step"
-- What a job asks for and what it was paid, both in its own currency. `paid` and `refunded` are sums over its payments,
-- `back` is what a step asked to be given back and what has not come back yet: it does not pay for anything any more.
local function job_currency(j) return string.match(j.full, '"currency":"(%u+)"') or '' end

local function money_asked(j, hours) return tonumber(cost(j, hours[1], hours[2])) end
local function money_kept(j) return j.paid - j.refunded - j.back end
local function money_text(n) return string.format('%.0f', n) end

local function money_save(j) redis.call('HSET', j.key, 'paid', j.paid, 'refunded', j.refunded, 'asked_back', j.back) end

-- A payment asked for: what is to be paid, or given back.
local function payment_asked(j, kind, amount)
  return '{"id":"pay_' .. string.match(j.id, '[^_]*$') .. '_' .. j.version .. (kind == 'refund' and '_refund' or '') ..
    '","kind":"' .. kind .. '","status":"requested","amount":' .. money_text(amount) .. ',"currency":"' ..
    job_currency(j) .. '"}'
end

-- What is still to be paid, as a payment asked for; nil where nothing is.
local function charge_asked(j, hours)
  local amount = money_asked(j, hours) - money_kept(j)
  return amount > 0 and payment_asked(j, 'charge', amount) or nil
end

-- What was paid and not given back is asked back; nil where there is nothing.
local function refund_asked(j)
  local amount = money_kept(j)
  if amount <= 0 then return nil end
  j.back = money_text(j.back + amount)
  money_save(j)
  return payment_asked(j, 'refund', amount)
end

-- Whether a command that takes a captured payment can be given now: the blueprint lets it, and the sum covers the price.
local function capture_due(j, p)
  return j.frozen == '' and step_from(j, p, nil) and step_marked(j, p) and money_kept(j) >= money_asked(j, p.hours)
end
