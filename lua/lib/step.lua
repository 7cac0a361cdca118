-- Whether a step may be taken, by the blueprint's plan: the refusal's word, or nil. All checks come before all writes.
-- A plan has only what its command declares: what is not there is nil.

-- From this state, by who stands to the job as the actor does; `only` narrows it for some of them. Without an actor
-- (an offer's technician) the command's own states count.
local function step_from(j, p, actor)
  for relation in string.gmatch(p.by, '%S+') do
    local from = p.only and p.only[relation] or p.from
    if (not actor or stands(j, actor, relation)) and string.find(from, ' ' .. j.status .. ' ', 1, true) then
      return true
    end
  end
  return false
end

-- Whether what must be marked is, and what must not be is not.
local function step_marked(j, p)
  for _, mark in ipairs(p.needs or {}) do if not job_marked(j, mark) then return false end end
  for _, mark in ipairs(p.unless or {}) do if job_marked(j, mark) then return false end end
  return true
end

-- Work on a job begins no sooner than the blueprint's lead before its time, unless the engine itself begins it.
local function step_early(z, j, p, actor)
  return p.starts and j.begins > z.now and actor ~= 'engine' and (j.phase == 'open' or j.phase == 'assigned')
end

-- Why nobody can have a job any more: it was called off, or nobody took it in time. `over` says so of states, `x=c y=e`.
local function step_over(j, over)
  local how = string.match(over or '', ' ' .. j.status .. '=(%a)')
  return how and (how == 'e' and 'EXPIRED' or 'CANCELLED') or nil
end

local function step_refused(z, j, p, actor, if_version)
  if j.frozen ~= '' and p.does ~= 'thaw' then return 'FROZEN' end
  if not step_from(j, p, actor) then return p.closes and step_over(j, p.over) or 'ILLEGAL_TRANSITION' end
  if p.does == 'release' and j.holder == '' or not step_marked(j, p) then return 'ILLEGAL_TRANSITION' end
  if step_early(z, j, p, actor) then return 'TOO_EARLY' end
  if if_version ~= '' and tonumber(if_version) ~= j.version then return 'VERSION_CONFLICT' end
  return nil
end
