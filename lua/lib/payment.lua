-- The payments of a job by the payment service's `reference`: charges (also those that are only held), and refunds of
-- them. A field of the hash is
-- `charge <reference>` or `refund <reference>`; its record is `path id created back members`. The path is a list of
-- `status:seq:amount:currency`, joined by commas: it contains the seq of each status, so that the same report gets the
-- same reply. An amount that does not count in the job's sums ends in `:-`. `back` is the refunded amount of a charge,
-- and `members` are the fixed members as JSON. Python reads the record in engine/domain/payments.py and writes it in
-- engine/domain/job_restore.py.
--- @include "lib/iso"
--- @include "lib/money"
local Payment = {}

-- The statuses of a charge that may follow each status. A service's reports may arrive in another order: if the release
-- of a hold is reported before its authorization, the authorization is refused as too late.
Payment.FOLLOWS = {[''] = ' requested authorized captured failed released ',
  requested = ' authorized captured failed released ', failed = ' authorized captured released ',
  authorized = ' captured released ', released = ' captured '}
-- Which member of a refused refund is wrong; engine/domain/payments.py has the same numbers.
Payment.AMOUNT, Payment.CURRENCY, Payment.OF, Payment.REFERENCE = 1, 2, 3, 4

function Payment.load(payments, kind, reference)
  local text = redis.call('HGET', payments, kind .. ' ' .. reference)
  if not text then return nil end
  local path, id, created, back, members = string.match(text, '^(%S*) (%S+) (%S+) (%S+) (.*)$')
  return {kind = kind, reference = reference, path = path, id = id, created = created, back = back, members = members}
end

function Payment.save(payments, payment)
  redis.call('HSET', payments, payment.kind .. ' ' .. payment.reference, table.concat({payment.path, payment.id,
    payment.created, payment.back, payment.members}, ' '))
end

function Payment.status_entry(payment, status)
  local seq, amount, currency, aside = string.match(payment.path, status .. ':(%d+):(%d+):(%u+)([^,]*)')
  return seq and {seq = seq, amount = amount, currency = currency, counts = aside == ''} or nil
end

-- Returns why a refund of `charge` cannot be recorded: the refusal's word, and which member is wrong. Returns nil if
-- the refund can be recorded.
function Payment.refund_refusal(charge, notice)
  local own = notice.of ~= notice.reference
  if not charge then return own and 'INVALID' or 'ILLEGAL_TRANSITION', Payment.OF end
  local captured = Payment.status_entry(charge, 'captured')
  if not captured then return 'ILLEGAL_TRANSITION' end
  if own and Payment.load(notice.payments, 'charge', notice.reference) then return 'INVALID', Payment.REFERENCE end
  if captured.currency ~= notice.currency then return 'INVALID', Payment.CURRENCY end
  if charge.back + notice.amount > tonumber(captured.amount) then return 'INVALID', Payment.AMOUNT end
  return nil
end

-- Returns why a report cannot be recorded: the refusal's word, or nil. A captured payment can always be recorded. A
-- frozen job, and one that must be signed first, refuse only payment requests: movements of money are recorded too.
function Payment.refusal(job, known, charge, notice)
  if notice.kind == 'refund' then return Payment.refund_refusal(charge, notice) end
  if notice.status == 'requested' and job.frozen ~= '' then return 'FROZEN' end
  if notice.status == 'requested' and notice.is_unsigned then return 'UNSIGNED' end
  local last = known and string.match(known.path, '(%a+):[^,]*$') or ''
  if string.find(Payment.FOLLOWS[last] or '', ' ' .. notice.status .. ' ', 1, true) then return nil end
  return 'ILLEGAL_TRANSITION'
end

-- Returns the fixed members as clients see them. A charge that is only authorized, or was released, is shown as a hold,
-- as in engine/domain/payments.py.
function Payment.shown_members(payment, status)
  local is_hold = status == 'authorized' or status == 'released'
  return is_hold and string.gsub(payment.members, '^"kind":"charge"', '"kind":"hold"', 1) or payment.members
end

-- Records the report `notice` and adds its amount to the job's sums. Returns the payment as JSON, and whether the
-- amount counts in the sums. The payments of a finished job expire with the job's record.
function Payment.record(zone, job, known, charge, notice)
  local payment = known or {kind = notice.kind, reference = notice.reference, path = '', id = notice.id,
    created = Iso.format(zone.now), back = '0', members = notice.members}
  local counts = notice.status ~= 'captured' or notice.currency == Money.currency(job)
  -- A refund counts if its charge counted: the job's currency may have changed since.
  if notice.kind == 'refund' then counts = Payment.status_entry(charge, 'captured').counts end
  payment.path = payment.path .. (payment.path ~= '' and ',' or '') ..
    table.concat({notice.status, Money.text(zone.seq + 1), notice.amount, notice.currency}, ':') ..
    (counts and '' or ':-')
  Payment.save(notice.payments, payment)
  if notice.kind == 'refund' then
    charge.back = Money.text(charge.back + notice.amount)
    Payment.save(notice.payments, charge)
    if counts then
      job.refunded = Money.text(job.refunded + notice.amount)
      job.back = Money.text(math.max(0, job.back - notice.amount))
    end
  elseif notice.status == 'captured' and counts then job.paid = Money.text(job.paid + notice.amount) end
  Money.save(job)
  local left = redis.call('TTL', job.key)
  if left > 0 then redis.call('EXPIRE', notice.payments, left) end
  return '{"id":"' .. payment.id .. '",' .. Payment.shown_members(payment, notice.status) .. ',"status":"' .. notice.status .. '","amount":' ..
    notice.amount .. ',"currency":"' .. notice.currency .. '","created_at":' .. payment.created .. '}', counts
end
