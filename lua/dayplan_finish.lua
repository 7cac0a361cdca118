--[[ dayplan_finish: moves a day plan from the state `from` to `state`, if it is still in `from`. With `groups` and
`unserved` (JSON) the computation has ended, and the plan can be applied from now on.
KEYS    meta  plan
ARGV    epoch  from  state  groups  unserved
OK      seq  version
ERR     STALE_EPOCH
]]
--- @include "lib/day_plan"
--- @include "lib/zone"
local meta, plan_key = unpack(KEYS)
local epoch, from, state, groups, unserved = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
if redis.call('HGET', plan_key, 'state') == from then
  redis.call('HSET', plan_key, 'state', state)
  if groups ~= '' then
    redis.call('HSET', plan_key, 'groups', groups, 'unserved', unserved, 'expires',
      string.format('%.0f', zone.now + DayPlan.VALID_MS))
    redis.call('PEXPIRE', plan_key, DayPlan.KEPT_MS)
  end
end
return {'OK', '0', zone.seq, 0}
