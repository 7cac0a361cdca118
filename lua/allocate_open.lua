--[[ allocate_open: the engine chooses who is to do a job, the best by the blueprint's weights, and gives it to him in
the same step. Due work `allocate:<job>:<n>`; where nobody fits it comes again after repeat_ms, as n + 1. `plan` is '' where
the job has left the state in which the engine looks for somebody.
KEYS    meta  job  offers  waves  supply  due  log
ARGV    epoch  entry  n  radius_m  repeat_ms  weights  plan  unfilled_told
OK      seq  version  technician  more
ERR     STALE_EPOCH
EMITS   job.*  offer.closed  bid.closed  payment.requested  technician.status
TOUCHES {z}:tech:*  {z}:tech:*:jobs  {z}:supply:*  {z}:demand:*  {z}:user:*  (same slot, names known only inside)
]]
--- @include "lib/enter"
--- @include "lib/moving"
--- @include "lib/geo"
--- @include "lib/candidates"
--- @include "lib/search"
--- @include "lib/ranking"
--- @include "lib/waving"
--- @include "lib/choosing"
local meta, job, offers, waves, supply, due, log = unpack(KEYS)
local epoch, entry, n, radius_m, repeat_ms, weights, plan, unfilled_told = unpack(ARGV)
local z = enter(meta, epoch)
if not z then return {'STALE_EPOCH'} end
local j, p = job_load(job), plan ~= '' and cjson.decode(plan)
if j and seeks(j) and put_off(z, j, entry) then return {'OK', '0', 0, 0, '', '0'} end
if not j or j.mode ~= 'allocate' or not seeks(j) or j.wave + 1 ~= tonumber(n) then
  redis.call('ZREM', due, entry)
  return {'OK', '0', 0, 0, '', '0'}
end
-- The job came to another state after the caller looked: the entry stays, and is looked at again.
if not p or not step_from(j, p, 'engine') then return {'OK', '0', 0, 0, '', '0'} end
redis.call('ZREM', due, entry)
-- Something may be marked, or a dispute resolved, before the next look.
if j.frozen ~= '' or not step_marked(j, p) then
  redis.call('ZADD', due, z.now + repeat_ms, entry)
  return {'OK', '0', 0, 0, '', '0'}
end
job_load_search(j)
local w, first = look_for(z, j, CONSIDERED, tonumber(radius_m), weights, limits_parse('')), j.walk == ''
if first and n == '1' then redis.call('HSET', job, 'sought', z.now) end
local best, more = choose(z, j, offers, supply, w, first)
wave_noted(z, w, waves, n, best and {best.id} or {}, ',"scores":[' .. scores(w) .. ']')
redis.call('HSET', job, 'walk', more and paused(w) or '')
if best then
  local events = moving(z, j, offers, p, {}, 'engine', tech_load(z.tag .. 'tech:' .. best.id))
  finish(z, log, j, events, {actor = 'engine', cause = ''})
elseif more then
  redis.call('ZADD', due, z.now, entry)
else
  redis.call('HSET', job, 'wave', n)
  redis.call('ZADD', due, z.now + repeat_ms, 'allocate:' .. j.id .. ':' .. n + 1)
  if n == '1' then append(z, log, unfilled(j, unfilled_told)) end
end
leave(z)
return {'OK', '0', z.seq, j.version, best and best.id or '', more and '1' or '0'}
