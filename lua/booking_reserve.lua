--[[ booking_reserve: stores the zone and the id of the job of a booking, under its idempotency key and its reference,
before job_create creates the job in that zone. A repeated booking gets the zone and the id of the first one, even if
its place belongs to another zone by now. `sole` is 1 for the first booking. Without a reference both keys are the same.
KEYS    by_key  by_reference
ARGV    zone  job  fingerprint  lifetime_ms
OK      seq  version  zone  job  sole
ERR     REUSED_KEY
]]
local by_key, by_reference = unpack(KEYS)
local zone, job, fingerprint, lifetime_ms = unpack(ARGV)
local noted, mark = redis.call('GET', by_key), ''
if noted and string.match(noted, '^%S+ %S+ (%S+)') ~= fingerprint then return {'REUSED_KEY', '0'} end
local first = noted or redis.call('GET', by_reference)
if first then
  zone, job = string.match(first, '^(%S+) (%S+)')
  mark = ' shared' -- booking_release keeps such a note: another booking may be about to make the job
end
for i, name in ipairs(KEYS) do
  local found = i == 1 and noted or redis.call('GET', name)
  if not found then
    redis.call('SET', name, zone .. ' ' .. job .. ' ' .. fingerprint .. mark, 'PX', lifetime_ms)
  elseif first and not string.find(found, ' shared', 1, true) then
    redis.call('SET', name, found .. ' shared', 'KEEPTTL')
  end
end
return {'OK', first and '1' or '0', 0, 0, zone, job, first and '0' or '1'}
