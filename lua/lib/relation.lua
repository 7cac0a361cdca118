-- How the actor (`role:id`, or `engine`) stands to the job. The blueprint says which relations may give a command;
-- strangers are told that there is no such job.
local function stands(j, actor, relation)
  if actor == 'engine' or relation == 'engine' then return actor == relation end
  local role, id = string.match(actor, '^([^:]*):(.*)$')
  return relation == 'holder' and role == 'technician' and j.holder == id
    or relation == 'customer' and j.customer == id
    or relation == 'ops' and (role == 'ops_manager' or role == 'admin')
    or relation == 'service' and role == 'service'
    or relation == 'mediator' and role == 'mediator' and j.frozen ~= ''
end

local function related(j, actor, by)
  for relation in string.gmatch(by, '%S+') do
    if stands(j, actor, relation) then return true end
  end
  return false
end
