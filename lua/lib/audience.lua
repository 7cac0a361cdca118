-- Who hears of an event about a job: the blueprint's words (`customer holder ops`) become channels here, in the
-- step itself, so that an event is addressed to those concerned at that instant and to nobody else.
local function audience(words, j, former)
  local to = {}
  for word in string.gmatch(words, '%S+') do
    if word == 'customer' then to[#to + 1] = 'user:' .. j.customer
    elseif word == 'holder' then
      if j.holder ~= '' then to[#to + 1] = 'user:' .. j.holder end
      if former and former ~= '' and former ~= j.holder then to[#to + 1] = 'user:' .. former end
    elseif word == 'customers' then to[#to + 1] = 'role:customer'
    elseif word == 'technicians' then to[#to + 1] = 'role:technician'
    else to[#to + 1] = 'role:' .. word end
  end
  return table.concat(to, ' ')
end
