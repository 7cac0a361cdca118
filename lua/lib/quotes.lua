-- Quotes. A quote is a price that is promised to a customer for a limited time. One booking or one edit uses it up. The
-- record is a hash: `quote` (its members as JSON, without the outer braces), `customer`, `expires` (ms), and `used`,
-- the job that used it up or ''.
--- @include "lib/iso"
local Quotes = {}

-- How long a quote stays after its end, so that a late booking gets EXPIRED and a second one DUPLICATE.
Quotes.KEPT_MS = 86400000

function Quotes.key(zone, id) return zone.tag .. 'quote:' .. id end

-- Stores a new quote and returns its event, which has the actor, cause and trace of `request`. `members` are the
-- members of the quote as JSON. `job_id` is the job that uses it up in the same step, or ''.
function Quotes.create(zone, id, customer, members, valid_ms, job_id, request)
  local key, expires = Quotes.key(zone, id), zone.now + tonumber(valid_ms)
  members = members .. ',"created_at":' .. Iso.format(zone.now) .. ',"expires_at":' .. Iso.format(expires)
  redis.call('HSET', key, 'quote', members, 'customer', customer, 'expires', string.format('%.0f', expires),
    'used', job_id)
  redis.call('PEXPIRE', key, string.format('%.0f', expires - zone.now + Quotes.KEPT_MS))
  local used = job_id ~= '' and ',"used_by":"' .. job_id .. '"' or ''
  return {type = 'quote.created', to = 'role:ops', data = '{"quote":{' .. members .. used .. '}}',
    actor = request.actor, cause = request.cause, trace = request.trace}
end

-- Returns the refusal of a quote that cannot be used now; nil if it can be used, or if there is no quote (''). The last
-- value says that the reply word concerns the quote. The refusals are not stored, because they stay true, so that a
-- repeat gets the same one. The caller has found the quote in Redis or in SQL. Therefore a quote that is missing here
-- ended more than KEPT_MS ago.
function Quotes.refusal(zone, id)
  if id == '' then return nil end
  local row = redis.call('HMGET', Quotes.key(zone, id), 'expires', 'used')
  if row[1] and row[2] ~= '' then return {'DUPLICATE', '0', row[2], 'quote'} end
  return (not row[1] or zone.now > tonumber(row[1])) and {'EXPIRED', '0', '', 'quote'} or nil
end

-- Uses a quote up for a job. Does nothing without a quote ('').
function Quotes.use(zone, id, job_id)
  if id ~= '' then redis.call('HSET', Quotes.key(zone, id), 'used', job_id) end
end
