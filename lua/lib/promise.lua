-- The promise of a job: the time until which four of five technicians have arrived (P80), computed when its technician
-- accepted. The customer sees it in the job. A job with a time has no promise, because its time is agreed. A job whose
-- technician's position is old has no promise either.
--   `promise` in the job's record is `ms`, or `ms watch` while the event `job.late` with the step `promise` may still
-- be emitted. `watch` is `before` until the technician departs, then `way`. The event is emitted at the promised time
-- (due entry `promise:<job>`), or at the first fix from which the technician would probably (P50) arrive later. While a
-- technician is asked and has not accepted, `promise` is `- travel_ms`: there is no promise yet.
--- @include "lib/job_fields"
local Promise = {}

-- A position older than FRESH_MS gives no promise. A promise is at least MIN_MS in the future (an assumed value): a
-- technician who is next to the place needs some time too, and would otherwise be late immediately.
Promise.FRESH_MS, Promise.MIN_MS = 300000, 120000

function Promise.time(text) return text and tonumber(string.match(text, '^%d+')) end
function Promise.watch(text) return text and string.match(text, '^%d+ (%a+)$') end

-- Writes the promise. `due` is the time of its scheduled task, nil if it has none. With `is_step`, it is written with
-- the other fields of a step.
function Promise.set(zone, job, text, due, is_step)
  job.promise = text
  if is_step then JobFields.set_with_step(job, 'promise', text) else JobFields.set(job.key, 'promise', text) end
  if due then redis.call('ZADD', zone.tag .. 'due', due, 'promise:' .. job.id)
  else redis.call('ZREM', zone.tag .. 'due', 'promise:' .. job.id) end
end

-- Ends the watch, because the promise was kept or missed, or because no technician is on the way now. The promised time
-- stays.
function Promise.stop(zone, job, is_step)
  if Promise.watch(job.promise) then Promise.set(zone, job, string.match(job.promise, '^%d+'), nil, is_step) end
end

-- Updates the promise after a step of the job. `state_entry` is nil if the state stays. `was_asked` is whether the
-- holder had not accepted before. `job.travel_ms` is the time of the new holder's journey (P80). `job.is_moved` is
-- whether the place or the time of the job has changed.
function Promise.follow_step(zone, job, state_entry, was_asked)
  local travels, watch, at = state_entry and state_entry.travel, Promise.watch(job.promise), Promise.time(job.promise)
  if job.holder == '' or job.is_moved then
    if job.promise ~= '' then Promise.set(zone, job, '', nil, true) end
  elseif job.unaccepted == '1' then
    if job.travel_ms then Promise.set(zone, job, string.format('- %.0f', job.travel_ms), nil, true) end
  elseif job.is_new_holder or was_asked then
    local asked_ms = string.match(job.promise or '', '^%- (%d+)$')
    local travel_ms = job.is_new_holder and job.travel_ms or asked_ms
    at = travel_ms and zone.now + math.max(travel_ms, Promise.MIN_MS)
    if at then Promise.set(zone, job, string.format('%.0f %s', at, travels and 'way' or 'before'), at, true)
    elseif (job.promise or '') ~= '' then Promise.set(zone, job, '', nil, true) end
  elseif watch and state_entry then
    if state_entry.phase == 'done' or state_entry.phase == 'closed' or watch == 'way' and not travels then
      Promise.stop(zone, job, true)
    elseif travels and watch == 'before' then Promise.set(zone, job, string.format('%.0f way', at), at, true) end
  end
  job.is_new_holder = nil
end
