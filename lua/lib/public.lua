-- What technicians who are offered it may see: no customer, address, reference nor metadata, position to 100 m, and
-- not who has it.
local function job_public(j)
  return '{' .. j.pub .. ',"amount":' .. j.amount .. ',"status":"' .. j.status .. '","phase":"' .. j.phase ..
    '","version":' .. j.version .. ',"technician":null,"updated_at":' .. iso(j.updated) .. ',"at":{' .. j.at .. '}' ..
    (j.expires > 0 and ',"expires_at":' .. iso(j.expires) or '') .. '}'
end
