-- A technician's live record, and whether they may work.
local Tech = {}

function Tech.load(key)
  local v = redis.call('HMGET', key, 'id', 'complete', 'kyc', 'account', 'online', 'capacity', 'load', 'services',
    'lat', 'lon', 'fix_at', 'indexed', 'name', 'phone', 'rating', 'accepted')
  if not v[1] then return nil end
  return {key = key, id = v[1], complete = v[2], kyc = v[3], account = v[4], online = v[5] or '',
    capacity = tonumber(v[6]) or 1, load = tonumber(v[7]) or 0, services = v[8], lat = v[9] or '', lon = v[10] or '',
    fix_at = tonumber(v[11]) or 0, indexed = v[12] or '', name = v[13], phone = v[14], rating = v[15] or '4.5',
    accepted = tonumber(v[16]) or 0}
end

-- Why they may not work at all, in the order in which a refused claim is answered; nil when they may.
function Tech.refusal(tech)
  if not tech or tech.complete ~= '1' then return 'PROFILE_INCOMPLETE' end
  if tech.kyc ~= 'approved' then return 'KYC_NOT_APPROVED' end
  if tech.account ~= 'approved' then return 'ACCOUNT_NOT_APPROVED' end
  return nil
end
