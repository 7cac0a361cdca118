--[[ account_put: copies to Redis the account fields that are checked for every request: role, activity, ended logins. A
version older than the stored version changes nothing, unless the stored version was written for an earlier run of the
server (the field `life` is the run id of that server).
KEYS    account
ARGV    version  role  active  ended_logins  run_id
OK      seq  version  role  active  out
]]
local account = unpack(KEYS)
local version, role, active, ended_logins, run_id = unpack(ARGV)
local known = redis.call('HMGET', account, 'version', 'life')
local older = known[1] and known[2] == run_id and tonumber(known[1]) > tonumber(version)
if not older then
  redis.call('HSET', account, 'version', version, 'role', role, 'active', active, 'out', ended_logins, 'life', run_id)
end
local now = redis.call('HMGET', account, 'version', 'role', 'active', 'out')
return {'OK', older and '1' or '0', 0, now[1], now[2], now[3], now[4]}
