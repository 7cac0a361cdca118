-- The services for whose open work a technician receives events, each with the seq since which they may receive these
-- events, because earlier events are not for them: `service:seq …` in `works` of their record
-- (engine/technicians/live.py reads it). An internal event makes gateways subscribe and unsubscribe the technician's
-- sessions; clients do not receive this event.
--- @include "lib/event_log"
--- @include "lib/tech"
local WorkFeed = {}

function WorkFeed.sync(zone, log, tech, actor)
  local had, now = redis.call('HGET', tech.key, 'works') or '', {}
  if not Tech.refusal(tech) then
    for service in string.gmatch(tech.services, '%S+') do
      local since = string.match(' ' .. had .. ' ', ' ' .. string.gsub(service, '%p', '%%%0') .. ':(%d+) ')
      now[#now + 1] = service .. ':' .. (since or string.format('%.0f', zone.seq))
    end
  end
  local text = table.concat(now, ' ')
  if text == had then return 0 end
  redis.call('HSET', tech.key, 'works', text)
  local services = string.gsub(string.gsub(text, '(%S+):(%d+)', '"%1":%2'), ' ', ',')
  return EventLog.append(zone, log, {type = 'session.work', to = 'user:' .. tech.id, actor = actor,
    data = '{"works":{' .. services .. '}}'})
end
