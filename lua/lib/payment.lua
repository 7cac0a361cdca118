-- The payments of a job by the payment service's `reference`: charges (also those that are only held), and refunds of
-- them. A field of the hash is `charge <reference>` or `refund <reference>`; its record is
-- `path id created back members`. The path is a list of `status:seq:amount:currency`, joined by commas: it contains the
-- seq of each status, so that the same report gets the same reply. An amount that does not count in the job's sums ends
-- in `:-`. `back` is the refunded amount of a charge; in the record of a refund, `back` is the part of the refund that
-- a step had requested. `members` are the fixed members as JSON. Python reads the record in engine/domain/payments.py
-- and writes it in engine/domain/job_restore.py.
local Payment = {}

-- The statuses of a charge that may follow each status. A service's reports may arrive in another order: if the release
-- of a hold is reported before its authorization, the authorization is refused as too late.
Payment.FOLLOWS = {[''] = ' requested authorized captured failed released ',
  requested = ' authorized captured failed released ', failed = ' authorized captured released ',
  authorized = ' captured released ', released = ' captured '}
-- The same table for a refund: a refund that was made may fail later, at the customer's bank.
Payment.REFUND_FOLLOWS = {[''] = ' refunded failed ', refunded = ' failed '}

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

-- Returns whether a payment, nil if it is not known yet, may get a status. `follows` is one of the tables above.
function Payment.may_follow(follows, known, status)
  local last = known and string.match(known.path, '(%a+):[^,]*$') or ''
  return string.find(follows[last] or '', ' ' .. status .. ' ', 1, true) ~= nil
end

-- Returns the fixed members as clients see them. A charge that is only authorized, or was released, is shown as a hold,
-- as in engine/domain/payments.py.
function Payment.shown_members(payment, status)
  local is_hold = status == 'authorized' or status == 'released'
  return is_hold and string.gsub(payment.members, '^"kind":"charge"', '"kind":"hold"', 1) or payment.members
end
