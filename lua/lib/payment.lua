-- Payments of a job by the payment service's `reference`: how far each has come, and under which seq each status was
-- told, so that the same word again is answered as it was the first time.
local FOLLOWS = {[''] = ' requested captured failed ', requested = ' captured failed ', captured = ' refunded '}

local function payment_event(status)
  return ({requested = 'payment.requested', captured = 'payment.received', refunded = 'payment.refunded',
    failed = 'payment.failed'})[status]
end

local function payment_load(payments, reference)
  local text = redis.call('HGET', payments, reference)
  if not text then return nil end
  local path, id, amount, currency, created, told = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
  return {path = path, id = id, amount = amount, currency = currency, created = created, told = told}
end

local function payment_seq(known, status) return string.match(known.path, status .. ':(%d+)') end

local function payment_follows(known, status)
  local last = known and string.match(known.path, '(%a+):%d+$') or ''
  return string.find(FOLLOWS[last] or '', ' ' .. status .. ' ', 1, true) ~= nil
end

-- Write down that it has come to `status`; returns the payment as it is told. Of a job that is over it does not outlive
-- the job's record.
local function payment_noted(z, job, payments, reference, known, status)
  known.path = known.path .. (known.path ~= '' and ',' or '') .. status .. ':' .. string.format('%.0f', z.seq + 1)
  redis.call('HSET', payments, reference, table.concat({known.path, known.id, known.amount, known.currency,
    known.created, known.told}, ' '))
  local left = redis.call('TTL', job)
  if left > 0 then redis.call('EXPIRE', payments, left) end
  return '{"id":"' .. known.id .. '","status":"' .. status .. '",' .. known.told .. ',"created_at":' .. known.created .. '}'
end
