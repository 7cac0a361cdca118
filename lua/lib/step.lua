-- Whether a step may be taken, by the blueprint's plan: the refusal's word, or nil. All checks come before all writes.

-- From this state, by who stands to the job as the actor does; `only` narrows it for some of them. Without an actor
-- (an offer's technician) the command's own states count.
local function step_from(j, p, actor)
  for relation in string.gmatch(p.by, '%S+') do
    local from = actor and p.only[relation] or p.from
    if (not actor or stands(j, actor, relation)) and string.find(from, ' ' .. j.status .. ' ', 1, true) then
      return true
    end
  end
  return false
end

local function step_marked(j, p)
  for _, mark in ipairs(p.needs) do if not job_marked(j, mark) then return false end end
  for _, mark in ipairs(p.unless) do if job_marked(j, mark) then return false end end
  return true
end

-- Work on a job begins no sooner than the blueprint's lead before its time, unless the engine itself begins it.
local function step_early(z, j, p, actor)
  return p.starts and j.begins > z.now and actor ~= 'engine' and (j.phase == 'open' or j.phase == 'assigned')
end

local function step_refused(j, p, actor, if_version)
  if j.frozen ~= '' and p.does ~= 'thaw' then return 'FROZEN' end
  if not step_from(j, p, actor) then
    if p.closes and j.status == 'cancelled' then return 'CANCELLED' end
    if p.closes and j.status == 'expired' then return 'EXPIRED' end
    return 'ILLEGAL_TRANSITION'
  end
  if p.does == 'release' and j.holder == '' then return 'ILLEGAL_TRANSITION' end
  if not step_marked(j, p) then return 'ILLEGAL_TRANSITION' end
  if if_version ~= '' and tonumber(if_version) ~= j.version then return 'VERSION_CONFLICT' end
  return nil
end
