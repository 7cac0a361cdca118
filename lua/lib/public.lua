--- @include "lib/iso"
-- The public part: no customer, address, postal code, notes, reference nor metadata, the position to 100 m, and not who
-- has the job: `card` is given for a holder who is merely asked, and shown to nobody else.
local function job_public(j, card)
  return '{' .. j.pub .. ',"amount":' .. j.amount .. ',"status":"' .. j.status .. '","phase":"' .. j.phase ..
    '","version":' .. j.version .. ',"technician":' .. (card and card ~= '' and card or 'null') .. ',"updated_at":' ..
    iso(j.updated) .. ',"at":{' .. j.at .. '}' .. (j.expires > 0 and ',"expires_at":' .. iso(j.expires) or '') .. '}'
end
