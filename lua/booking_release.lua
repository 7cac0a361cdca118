--[[ booking_release: deletes the notes (booking_reserve) of a booking that job_create refused, so that a corrected one may
go to another zone. A note that another booking has read since then stays.
KEYS    by_key  by_reference
ARGV    zone  job  fingerprint
OK      seq  version
FLAGS   allow-oom
]]
local by_key, by_reference = unpack(KEYS)
local zone, job, fingerprint = unpack(ARGV)
for _, name in ipairs({by_key, by_reference}) do
  if redis.call('GET', name) == zone .. ' ' .. job .. ' ' .. fingerprint then redis.call('DEL', name) end
end
return {'OK', '0', 0, 0}
