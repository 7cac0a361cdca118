-- Whether the actor (`role:id`) stands to the job in one of the relations of which the blueprint allows one.
-- Strangers are told that there is no such job.
local function related(j, actor, by)
  local role, id = string.match(actor, '^([^:]*):(.*)$')
  for relation in string.gmatch(by, '%S+') do
    if relation == 'holder' and role == 'technician' and j.holder == id then return true end
    if relation == 'customer' and j.customer == id then return true end
    if relation == 'ops' and (role == 'ops_manager' or role == 'admin') then return true end
    if relation == role and role == 'service' then return true end
  end
  return false
end
