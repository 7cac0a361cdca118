-- The relation of the actor (`role:id`, or `engine`) to the job. The blueprint declares which relations may give a
-- command. All others get the reply that the job does not exist.
local Relation = {}

function Relation.holds(job, actor, relation)
  if actor == 'engine' or relation == 'engine' then return actor == relation end
  local role, id = string.match(actor, '^([^:]*):(.*)$')
  return relation == 'holder' and role == 'technician' and job.holder == id
    or relation == 'customer' and job.customer == id
    or relation == 'ops' and (role == 'ops_manager' or role == 'admin')
    or relation == 'service' and role == 'service'
    or relation == 'mediator' and role == 'mediator' and job.frozen ~= ''
end

function Relation.any(job, actor, relations)
  for relation in string.gmatch(relations, '%S+') do
    if Relation.holds(job, actor, relation) then return true end
  end
  return false
end
