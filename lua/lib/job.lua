--- @include "lib/iso"
-- The job's hash and its two views. Fixed members are encoded once, at creation, by the caller (`full`, `pub`); a
-- step only joins them with what moves. cjson would cost several times as much, in every claim. The record is read
-- by literal names into one constructor: a loop over a table of names took a tenth of the claim.
local function job_load(key)
  local v = redis.call('HMGET', key, 'id', 'bp', 'status', 'phase', 'version', 'customer', 'holder', 'card', 'full',
    'pub', 'at', 'updated', 'expires', 'last', 'wave', 'service', 'claimed')
  if not v[1] then return nil end
  return {key = key, id = v[1], bp = v[2], status = v[3], phase = v[4], version = tonumber(v[5]), customer = v[6],
    holder = v[7], card = v[8], full = v[9], pub = v[10], at = v[11], updated = tonumber(v[12]),
    expires = tonumber(v[13]) or 0, last = v[14], wave = tonumber(v[15]) or 0, service = v[16],
    claimed = v[17] or ''}
end

-- `now` is the time already written out, where the caller has it.
local function job_full(j, now)
  return '{' .. j.full .. ',"status":"' .. j.status .. '","phase":"' .. j.phase .. '","version":' .. j.version ..
    ',"technician":' .. (j.card ~= '' and j.card or 'null') .. ',"updated_at":' .. (now or iso(j.updated)) ..
    ',"at":{' .. j.at .. '}' .. (j.expires > 0 and ',"expires_at":' .. iso(j.expires) or '') .. '}'
end

-- Move to `status`: version (the fencing token) rises by one, `at` notes when the state was first reached.
-- Returns the time of the move, written out.
local function job_move(z, j, status, phase)
  local now = iso(z.now)
  if status ~= '' and status ~= j.status then
    j.status, j.phase = status, phase
    if not string.find(j.at, '"' .. status .. '":', 1, true) then
      j.at = j.at .. (j.at ~= '' and ',' or '') .. '"' .. status .. '":' .. now
    end
  end
  if j.phase ~= 'open' then j.expires = 0 end
  j.version, j.updated = j.version + 1, z.now
  return now
end

local function job_save(j)
  redis.call('HSET', j.key, 'status', j.status, 'phase', j.phase, 'version', j.version, 'holder', j.holder,
    'card', j.card, 'at', j.at, 'updated', j.updated, 'expires', j.expires, 'last', j.last, 'claimed', j.claimed)
end
