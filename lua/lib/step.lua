-- Checks whether a step may be taken, by the blueprint's plan. All checks come before all writes. A plan has only the
-- members that its command declares: all others are nil.
--- @include "lib/job"
--- @include "lib/job_files"
--- @include "lib/relation"
local Step = {}

-- Returns whether the blueprint permits the command in this state to an actor with this relation to the job. `only`
-- restricts the states for some relations. Without an actor (the technician of an offer) every relation counts.
function Step.allows_state(job, plan, actor)
  for relation in string.gmatch(plan.by, '%S+') do
    local from = plan.only and plan.only[relation] or plan.from
    if (not actor or Relation.holds(job, actor, relation)) and string.find(from, ' ' .. job.status .. ' ', 1, true) then
      return true
    end
  end
  return false
end

-- Returns whether all required marks are set and no excluded mark is set.
function Step.allows_marks(job, plan)
  for _, mark in ipairs(plan.needs or {}) do if not Job.has_mark(job, mark) then return false end end
  for _, mark in ipairs(plan.unless or {}) do if Job.has_mark(job, mark) then return false end end
  return true
end

-- Returns whether the command is too early. Work on a job may not begin earlier than the blueprint's lead before the
-- job's time, unless the engine itself begins the work.
function Step.is_too_early(zone, job, plan, actor)
  return plan.starts and job.begins > zone.now and actor ~= 'engine'
    and (job.phase == 'open' or job.phase == 'assigned')
end

-- Returns the reply word for a job that ended before somebody got the job: CANCELLED or EXPIRED. `over` lists the
-- states: ` cancelled=c expired=e`.
function Step.closed_word(job, over)
  local how = string.match(over or '', ' ' .. job.status .. '=(%a)')
  return how and (how == 'e' and 'EXPIRED' or 'CANCELLED') or nil
end

-- Returns why the step is refused: the reply word and, for FILES_MISSING, the missing files; nil if it is allowed. Only
-- the script of the route that signs passes a `signature`: a command that signs is refused to every other caller.
function Step.refusal(zone, job, plan, actor, if_version, signature)
  if job.frozen ~= '' and plan.effect ~= 'thaw' then return 'FROZEN' end
  if not Step.allows_state(job, plan, actor) then
    return plan.closes and Step.closed_word(job, plan.over) or 'ILLEGAL_TRANSITION'
  end
  if plan.effect == 'release' and job.holder == '' or not Step.allows_marks(job, plan) then
    return 'ILLEGAL_TRANSITION'
  end
  if plan.signs and not signature then return 'UNSIGNED' end
  if signature and job.signed ~= '' then return 'ILLEGAL_TRANSITION' end
  if Step.is_too_early(zone, job, plan, actor) then return 'TOO_EARLY' end
  if if_version ~= '' and tonumber(if_version) ~= job.version then return 'VERSION_CONFLICT' end
  local missing = JobFiles.missing(job, plan.files)
  if missing then return 'FILES_MISSING', missing end
  return nil
end
