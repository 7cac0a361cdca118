-- A technician's live record, and whether they may work.
local Tech = {}

function Tech.load(key)
  local row = redis.call('HMGET', key, 'id', 'complete', 'kyc', 'account', 'online', 'capacity', 'load', 'services',
    'lat', 'lon', 'fix_at', 'indexed', 'name', 'rating', 'accepted', 'acc', 'rate')
  if not row[1] then return nil end
  return {key = key, id = row[1], complete = row[2], kyc = row[3], account = row[4], online = row[5] or '',
    capacity = tonumber(row[6]) or 1, load = tonumber(row[7]) or 0, services = row[8], lat = row[9] or '',
    lon = row[10] or '', fix_at = tonumber(row[11]) or 0, indexed = row[12] or '', name = row[13],
    rating = row[14] or '4.5', accepted = tonumber(row[15]) or 0, acc = row[16], rate = row[17]}
end

-- Returns why the technician may not work at all: the refusal's word, or nil. The reasons are checked in the order of a
-- claim.
function Tech.refusal(tech)
  if not tech or tech.complete ~= '1' then return 'PROFILE_INCOMPLETE' end
  if tech.kyc ~= 'approved' then return 'KYC_NOT_APPROVED' end
  if tech.account ~= 'approved' then return 'ACCOUNT_NOT_APPROVED' end
  return nil
end

-- Returns how many metres the accuracy of a position (a radius in metres) adds to the distance: the technician may be
-- that much farther away. An accuracy of up to 100 m counts as exact.
function Tech.uncertainty_m(acc) return math.max(0, (tonumber(acc) or 0) - 100) end
