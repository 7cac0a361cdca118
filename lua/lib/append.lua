-- One event to the zone's log. seq has no holes because it moves in the same step as the state it tells of: `leave`
-- writes it back, once, when all events of the step are appended.
local function append_one(z, log, event)
  z.seq = z.seq + 1
  local id = string.format('%.0f-0', z.seq)
  if event.trace and event.trace ~= '' then
    redis.call('XADD', log, id, 'type', event.type, 'to', event.to, 'at', z.now, 'actor', event.actor or 'engine',
      'bp', event.bp or '', 'data', event.data, 'cause', event.cause or '', 'trace', event.trace)
  else
    redis.call('XADD', log, id, 'type', event.type, 'to', event.to, 'at', z.now, 'actor', event.actor or 'engine',
      'bp', event.bp or '', 'data', event.data, 'cause', event.cause or '')
  end
  return z.seq
end

local PIECE = 64 -- recipients of one event about offers: a claim tells everybody who lost, and `to` stands in each copy

-- Appends the event; one about offers to more than PIECE recipients in pieces, each recipient in one of them.
local function append(z, log, event)
  if #event.to < PIECE * 7 or string.sub(event.type, 1, 6) ~= 'offer.' then return append_one(z, log, event) end
  local to, piece = event.to, {}
  for channel in string.gmatch(to, '%S+') do
    piece[#piece + 1] = channel
    if #piece == PIECE then
      event.to, piece = table.concat(piece, ' '), {}
      append_one(z, log, event)
    end
  end
  if #piece > 0 then
    event.to = table.concat(piece, ' ')
    append_one(z, log, event)
  end
  event.to = to
  return z.seq
end

local function leave(z)
  redis.call('HSET', z.meta, 'seq', z.seq, 'now', z.now)
end
