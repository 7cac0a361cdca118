-- One event to the zone's log. seq has no holes because it moves in the same step as the state it tells of: `leave`
-- writes it back, once, when all events of the step are appended. Those of `apart` (lib/audience) follow it, the same
-- event for those who may not see all of it.
local function append_one(z, log, event, to, data)
  z.seq = z.seq + 1
  local id = string.format('%.0f-0', z.seq)
  if event.trace and event.trace ~= '' then
    redis.call('XADD', log, id, 'type', event.type, 'to', to, 'at', z.now, 'actor', event.actor or 'engine',
      'bp', event.bp or '', 'data', data, 'cause', event.cause or '', 'trace', event.trace)
  else
    redis.call('XADD', log, id, 'type', event.type, 'to', to, 'at', z.now, 'actor', event.actor or 'engine',
      'bp', event.bp or '', 'data', data, 'cause', event.cause or '')
  end
end

local PIECE = 64 -- recipients of one event about offers: a claim tells everybody who lost, and `to` stands in each copy

-- Appends the event; one about offers to more than PIECE recipients in pieces, each recipient in one of them.
local function append(z, log, event)
  if #event.to < PIECE * 7 or string.sub(event.type, 1, 6) ~= 'offer.' then
    append_one(z, log, event, event.to, event.data)
  else
    local piece = {}
    for channel in string.gmatch(event.to, '%S+') do
      piece[#piece + 1] = channel
      if #piece == PIECE then
        append_one(z, log, event, table.concat(piece, ' '), event.data)
        piece = {}
      end
    end
    if #piece > 0 then append_one(z, log, event, table.concat(piece, ' '), event.data) end
  end
  local seq = z.seq
  for _, other in ipairs(event.apart or {}) do append_one(z, log, event, other[1], other[2]) end
  return seq
end

local function leave(z)
  redis.call('HSET', z.meta, 'seq', z.seq, 'now', z.now)
end
