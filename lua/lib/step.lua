--- @include "lib/job"
--- @include "lib/relation"

-- Whether a step may be taken, by the blueprint's plan. All checks come before all writes. A plan has only what its
-- command declares: everything else is nil.
local Step = {}

-- Whether the command is declared from this state for a relation of the actor; `only` restricts it for some
-- relations. Without an actor (an offer's technician) the command's own states count.
function Step.allows_state(job, plan, actor)
  for relation in string.gmatch(plan.by, '%S+') do
    local from = plan.only and plan.only[relation] or plan.from
    if (not actor or Relation.holds(job, actor, relation)) and string.find(from, ' ' .. job.status .. ' ', 1, true) then
      return true
    end
  end
  return false
end

-- Whether all required marks are set and no excluded one is.
function Step.allows_marks(job, plan)
  for _, mark in ipairs(plan.needs or {}) do if not Job.has_mark(job, mark) then return false end end
  for _, mark in ipairs(plan.unless or {}) do if Job.has_mark(job, mark) then return false end end
  return true
end

-- Work on a job begins no sooner than the blueprint's lead before its time, unless the engine itself begins it.
function Step.is_early(zone, job, plan, actor)
  return plan.starts and job.begins > zone.now and actor ~= 'engine' and (job.phase == 'open' or job.phase == 'assigned')
end

-- Why nobody can take a job any more: it was cancelled, or it expired. `over` says so of states, `x=c y=e`.
function Step.closed_word(job, over)
  local how = string.match(over or '', ' ' .. job.status .. '=(%a)')
  return how and (how == 'e' and 'EXPIRED' or 'CANCELLED') or nil
end

function Step.refusal(zone, job, plan, actor, if_version)
  if job.frozen ~= '' and plan.does ~= 'thaw' then return 'FROZEN' end
  if not Step.allows_state(job, plan, actor) then
    return plan.closes and Step.closed_word(job, plan.over) or 'ILLEGAL_TRANSITION'
  end
  if plan.does == 'release' and job.holder == '' or not Step.allows_marks(job, plan) then return 'ILLEGAL_TRANSITION' end
  if Step.is_early(zone, job, plan, actor) then return 'TOO_EARLY' end
  if if_version ~= '' and tonumber(if_version) ~= job.version then return 'VERSION_CONFLICT' end
  return nil
end
