-- The open links of a job: the field `shares` of its record, `id expires maker` of each link, joined by commas.
-- `expires` is ms of the zone's clock, `maker` is the user who created the link (`role:id`). engine/domain/shares.py
-- reads it.
--- @include "lib/job_fields"
local Shares = {}

-- The most open links of a job.
Shares.MAX_OPEN = 5

-- Returns the links that have not expired, in the order of their creation.
function Shares.open(zone, key)
  local found = {}
  for entry in string.gmatch(redis.call('HGET', key, 'shares') or '', '[^,]+') do
    local id, expires = string.match(entry, '^(%S+) (%S+) ')
    if tonumber(expires) > zone.now then found[#found + 1] = {id = id, text = entry} end
  end
  return found
end

-- Writes the links. If there is none, the field is removed.
function Shares.save(key, found)
  local texts = {}
  for i, share in ipairs(found) do texts[i] = share.text end
  if #texts == 0 then
    JobFields.remove(key, 'shares')
  else
    JobFields.set(key, 'shares', table.concat(texts, ','))
  end
end

-- Returns the channels of an event about a link. The technician receives no such event.
function Shares.channels(job) return 'user:' .. job.customer .. ' role:ops' end

-- Returns whether the job is not over yet. Its links end with the job.
function Shares.may_have(job) return job.phase == 'open' or job.phase == 'assigned' or job.phase == 'active' end
