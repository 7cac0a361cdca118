--[[ file_attach: adds a photo to a job, by its customer or its holder, from acceptance until the job is signed or over.
`file` is the photo as JSON without its last brace and its time. A photo with the same bytes (`sha256`) changes nothing.
KEYS    meta  job  log
ARGV    epoch  actor  trace  bp  file  sha256  audience
OK      seq  version  job_id  job
ERR     STALE_EPOCH  NOT_FOUND  OTHER_BLUEPRINT  ILLEGAL_TRANSITION  INVALID  REUSED_KEY
EMITS   file.added
TOUCHES {z}:due  {z}:places  (same slot, names known only inside)
]]
--- @include "lib/audience"
--- @include "lib/command"
--- @include "lib/event_log"
--- @include "lib/job"
--- @include "lib/job_files"
--- @include "lib/job_record"
--- @include "lib/relation"
--- @include "lib/zone"
local meta, job_key, log = unpack(KEYS)
local epoch, actor, trace, bp, file, sha256, audience = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local job, other = Command.begin(zone, job_key, {bp = bp})
if other then return other end
if not job or not Relation.any(job, actor, 'customer holder') then return {'NOT_FOUND', '0'} end
if JobFiles.has(job, sha256) then return {'OK', '1', zone.seq, job.version, job.id, Job.full_json(job)} end
if not JobFiles.may_add(job) then return {'ILLEGAL_TRANSITION', '0'} end
if JobFiles.is_full(job, actor) then return {'INVALID', '0'} end

local now = Job.next_version(zone, job, nil)
file = file .. ',"at":' .. now .. '}'
JobFiles.add(job, file)
JobRecord.save(job)
local shown = Job.full_json(job, now)
local seq = EventLog.append(zone, log, {type = 'file.added', to = Audience.channels(audience, job), actor = actor,
  bp = bp, trace = trace, data = '{"file":' .. file .. ',"job":' .. shown .. '}'})
EventLog.save_seq(zone)
return {'OK', '0', seq, job.version, job.id, shown}
