-- Of which services a technician may take work, each with the seq since which (`service:seq …` in the hot record): nothing
-- from before is theirs to hear. Gateways move the sessions in and out by the event, which no client gets.
local function works_sync(z, log, t, actor)
  local had, now = redis.call('HGET', t.key, 'works') or '', {}
  if not unfit(t) then
    for service in string.gmatch(t.services, '%S+') do
      local since = string.match(' ' .. had .. ' ', ' ' .. string.gsub(service, '%p', '%%%0') .. ':(%d+) ')
      now[#now + 1] = service .. ':' .. (since or string.format('%.0f', z.seq))
    end
  end
  local text = table.concat(now, ' ')
  if text == had then return 0 end
  redis.call('HSET', t.key, 'works', text)
  local told = string.gsub(string.gsub(text, '(%S+):(%d+)', '"%1":%2'), ' ', ',')
  return append(z, log, {type = 'session.work', to = 'user:' .. t.id, actor = actor, data = '{"works":{' .. told .. '}}'})
end
