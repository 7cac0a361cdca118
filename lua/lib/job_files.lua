-- The photos of a job: the field `photos` of its record, a JSON array. The engine writes all of it, and it contains no
-- text of a user. Therefore it can be searched as plain text.
local JobFiles = {}

-- The most photos that each user may add to a job. With a limit for each user, nobody can use up the photos that
-- another one must add.
JobFiles.MAX_OF_USER = 20
-- The most photos of a job: each event of the job has the whole list.
JobFiles.MAX_OF_JOB = 200

function JobFiles.has(job, sha256) return string.find(job.photos, '"sha256":"' .. sha256 .. '"', 1, true) ~= nil end

-- Returns how many photos the job has, of one kind or of all.
function JobFiles.count(job, kind)
  local _, found = string.gsub(job.photos, kind and '"kind":"' .. kind .. '"' or '"sha256":"', '')
  return found
end

-- Returns how many photos of the job `actor` has added.
function JobFiles.count_by(job, actor)
  local by, found, at = '"by":{"id":"' .. string.match(actor, ':(.*)$') .. '"', 0, 0
  repeat
    at = string.find(job.photos, by, at + 1, true)
    found = found + (at and 1 or 0)
  until not at
  return found
end

-- Returns whether a further photo of `actor` would be too many.
function JobFiles.is_full(job, actor)
  return JobFiles.count_by(job, actor) >= JobFiles.MAX_OF_USER or JobFiles.count(job) >= JobFiles.MAX_OF_JOB
end

-- Returns whether photos may be added: somebody has accepted the job, and it is neither signed nor over.
function JobFiles.may_add(job)
  local is_going_on = job.phase == 'assigned' or job.phase == 'active'
  return is_going_on and job.unaccepted ~= '1' and job.signed == ''
end

function JobFiles.add(job, file)
  job.photos = string.sub(job.photos, 1, -2) .. (job.photos ~= '[]' and ',' or '') .. file .. ']'
  redis.call('HSET', job.key, 'photos', job.photos)
end

-- Returns which files a step lacks, as `kind:number` joined by commas; nil if it lacks none. `needs` are pairs of a
-- kind and a number.
function JobFiles.missing(job, needs)
  local missing = {}
  for _, need in ipairs(needs or {}) do
    local lacks = need[2] - JobFiles.count(job, need[1])
    if lacks > 0 then missing[#missing + 1] = need[1] .. ':' .. string.format('%d', lacks) end
  end
  return #missing > 0 and table.concat(missing, ',') or nil
end
