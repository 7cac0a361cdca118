--- @include "lib/money"
-- Payments of a job, by the payment service's `reference`: charges, and refunds of them. A field of the hash is
-- `charge <reference>` or `refund <reference>`; its record `path id created back members`. The path is
-- `status:seq:amount:currency`, joined by commas: each word is kept with its seq, so that the same word again is answered
-- as it was. `:-` stands after an amount captured or refunded that does not count in the job's sums. `back` is
-- what was refunded of a charge, `members` are the fixed ones as JSON.
local FOLLOWS = {[''] = ' requested captured failed ', requested = ' captured failed ', failed = ' captured '}
-- Which member of a refused refund is wrong; engine/payments.py has the same numbers.
local AMOUNT, CURRENCY, OF, REFERENCE = 1, 2, 3, 4

local function payment_load(payments, kind, reference)
  local text = redis.call('HGET', payments, kind .. ' ' .. reference)
  if not text then return nil end
  local path, id, created, back, members = string.match(text, '^(%S*) (%S+) (%S+) (%S+) (.*)$')
  return {kind = kind, reference = reference, path = path, id = id, created = created, back = back, members = members}
end

local function payment_save(payments, p)
  redis.call('HSET', payments, p.kind .. ' ' .. p.reference, table.concat({p.path, p.id, p.created, p.back, p.members}, ' '))
end

local function payment_said(p, status)
  local seq, amount, currency, aside = string.match(p.path, status .. ':(%d+):(%d+):(%u+)([^,]*)')
  return seq and {seq = seq, amount = amount, currency = currency, counts = aside == ''} or nil
end

-- Why a refund of `charge` cannot be noted: the refusal's word, and which member is wrong; nil where it can.
local function refund_refused(charge, w)
  local own = w.of ~= w.reference
  if not charge then return own and 'INVALID' or 'ILLEGAL_TRANSITION', OF end
  local captured = payment_said(charge, 'captured')
  if not captured then return 'ILLEGAL_TRANSITION' end
  if own and payment_load(w.payments, 'charge', w.reference) then return 'INVALID', REFERENCE end
  if captured.currency ~= w.currency then return 'INVALID', CURRENCY end
  if charge.back + w.amount > tonumber(captured.amount) then return 'INVALID', AMOUNT end
  return nil
end

-- Why a word cannot be noted. One that is captured always can; what happened to money is noted of a frozen job too, only
-- asking for it is a step that has to wait.
local function payment_refused(j, known, charge, w)
  if w.kind == 'refund' then return refund_refused(charge, w) end
  if w.status == 'requested' and j.frozen ~= '' then return 'FROZEN' end
  local last = known and string.match(known.path, '(%a+):[^,]*$') or ''
  if string.find(FOLLOWS[last] or '', ' ' .. w.status .. ' ', 1, true) then return nil end
  return 'ILLEGAL_TRANSITION'
end

-- Write the word down, and what it adds to the job's sums; returns the payment as it is told, and whether it counts.
-- Payments of a job that is over do not outlive the job's record.
local function payment_noted(z, j, known, charge, w)
  local p = known or {kind = w.kind, reference = w.reference, path = '', id = w.id, created = iso(z.now), back = '0',
    members = w.members}
  local counts = w.status ~= 'captured' or w.currency == job_currency(j)
  -- A refund counts as its charge did: the job's currency may be another by now.
  if w.kind == 'refund' then counts = payment_said(charge, 'captured').counts end
  p.path = p.path .. (p.path ~= '' and ',' or '') .. table.concat({w.status, money_text(z.seq + 1), w.amount, w.currency}, ':') ..
    (counts and '' or ':-')
  payment_save(w.payments, p)
  if w.kind == 'refund' then
    charge.back = money_text(charge.back + w.amount)
    payment_save(w.payments, charge)
    if counts then
      j.refunded, j.back = money_text(j.refunded + w.amount), money_text(math.max(0, j.back - w.amount))
    end
  elseif w.status == 'captured' and counts then j.paid = money_text(j.paid + w.amount) end
  money_save(j)
  local left = redis.call('TTL', j.key)
  if left > 0 then redis.call('EXPIRE', w.payments, left) end
  return '{"id":"' .. p.id .. '",' .. p.members .. ',"status":"' .. w.status .. '","amount":' .. w.amount ..
    ',"currency":"' .. w.currency .. '","created_at":' .. p.created .. '}', counts
end
