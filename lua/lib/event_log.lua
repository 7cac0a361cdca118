-- Appends events to the zone's log. `seq` has no holes, because it advances in the same script as the state that the
-- event describes. `save_seq` stores the new `seq` once, after all events of the script.
--- @include "lib/job_state"
local EventLog = {}

-- Appends an entry. The first entry after a script has changed jobs contains the state of these jobs.
function EventLog.add_entry(zone, log, event, channels, data)
  zone.seq = zone.seq + 1
  local id, state = zone.seq .. '-0', JobState.take(zone)
  if state then
    redis.call('XADD', log, id, 'type', event.type, 'to', channels, 'at', zone.now, 'actor', event.actor or 'engine',
      'bp', event.bp or '', 'data', data, 'cause', event.cause or '', 'trace', event.trace or '', 'state', state)
  elseif event.trace and event.trace ~= '' then
    redis.call('XADD', log, id, 'type', event.type, 'to', channels, 'at', zone.now, 'actor', event.actor or 'engine',
      'bp', event.bp or '', 'data', data, 'cause', event.cause or '', 'trace', event.trace)
  else
    redis.call('XADD', log, id, 'type', event.type, 'to', channels, 'at', zone.now, 'actor', event.actor or 'engine',
      'bp', event.bp or '', 'data', data, 'cause', event.cause or '')
  end
end

-- How many recipients one event about offers may have: a claim notifies everybody who lost, and each copy of the event
-- contains the whole `to`.
EventLog.MAX_RECIPIENTS = 64

do
  local function is_split(event)
    return #event.to >= EventLog.MAX_RECIPIENTS * 7 and string.sub(event.type, 1, 6) == 'offer.'
  end

  -- Returns how many entries `append` makes of the event.
  function EventLog.count_entries(event)
    local count = 1
    if is_split(event) then
      local _, channels = string.gsub(event.to, '%S+', '')
      count = math.ceil(channels / EventLog.MAX_RECIPIENTS)
    end
    return count + (event.restricted and #event.restricted or 0) + (event.follow and #event.follow or 0)
  end

  -- Appends the event and returns its seq. An event about offers is split into chunks of MAX_RECIPIENTS recipients. The
  -- restricted copies (lib/audience) are appended after the event: the same event for recipients who may not see the
  -- whole job. The events of `event.follow` come last.
  function EventLog.append(zone, log, event)
    if not is_split(event) then
      EventLog.add_entry(zone, log, event, event.to, event.data)
    else
      local piece = {}
      for channel in string.gmatch(event.to, '%S+') do
        piece[#piece + 1] = channel
        if #piece == EventLog.MAX_RECIPIENTS then
          EventLog.add_entry(zone, log, event, table.concat(piece, ' '), event.data)
          piece = {}
        end
      end
      if #piece > 0 then EventLog.add_entry(zone, log, event, table.concat(piece, ' '), event.data) end
    end
    local seq = zone.seq
    if event.restricted then
      for _, other in ipairs(event.restricted) do EventLog.add_entry(zone, log, event, other[1], other[2]) end
    end
    if event.follow then
      for _, notice in ipairs(event.follow) do EventLog.add_entry(zone, log, notice, notice.to, notice.data) end
    end
    return seq
  end
end

-- Appends an internal event with the state of the jobs that the script has changed, if no other event has it. Every script
-- that may change a job without an event ends with this.
function EventLog.record_jobs(zone)
  if not JobState.has_changed() then return end
  EventLog.append(zone, zone.tag .. 'log', {type = 'session.job', to = '', data = JobState.event_data()})
  EventLog.save_seq(zone)
end

-- Stores the zone's seq. Every script that appended an event calls this function.
function EventLog.save_seq(zone)
  redis.call('HSET', zone.meta, 'seq', zone.seq, 'now', zone.now)
end
