-- One event to the zone's log. seq has no holes because it moves in the same step as the state it tells of: `leave`
-- writes it back, once, when all events of the step are appended.
local function append(z, log, event)
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

local function leave(z)
  redis.call('HSET', z.meta, 'seq', z.seq, 'now', z.now)
end
