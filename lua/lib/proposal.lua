-- A price that one side of a job proposes to the other: `status id amount by holder created reason`, the last one made.
-- It is to the technician who held the job then, and to nobody after him.
local function proposal_load(j)
  local text = redis.call('HGET', j.key, 'proposal') or ''
  local status, id, amount, by, holder, created, reason = string.match(text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
  return status and {status = status, id = id, amount = amount, by = by, holder = holder, created = created,
    reason = reason} or nil
end

local function proposal_save(j, p)
  redis.call('HSET', j.key, 'proposal', table.concat({p.status, p.id, p.amount, p.by, p.holder, p.created, p.reason}, ' '))
end

local function proposal_open(j, p) return p and p.status == 'open' and p.holder == j.holder end

local function proposal_shown(p)
  local role, id = string.match(p.by, '^([^:]*):(.*)$')
  return '{"id":"' .. p.id .. '","amount":' .. p.amount .. ',"by":{"id":"' .. id .. '","role":"' .. role .. '"}' ..
    (p.reason ~= '' and ',"reason":' .. p.reason or '') .. ',"status":"' .. p.status .. '","created_at":' .. p.created .. '}'
end

-- Why the price cannot be talked of now: the refusal's word, or nil. `states` are those in which it may.
local function price_refused(j, states)
  if j.frozen ~= '' then return 'FROZEN' end
  if redis.call('HGET', j.key, 'price_locked') == '1' then return 'PRICE_LOCKED' end
  if j.holder == '' or not string.find(states, ' ' .. j.status .. ' ', 1, true) then return 'ILLEGAL_TRANSITION' end
  return nil
end
