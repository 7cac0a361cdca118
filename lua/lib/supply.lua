-- The supply index: the technicians who could take a job now, by service. Every script that changes a technician
-- updates it. Exactly those in the index have a summary (lib/summaries).
--- @include "lib/map_index"
--- @include "lib/summaries"
--- @include "lib/tech"
local Supply = {}

-- A technician who moves gets a new position in the index after PLACE_MS or PLACE_M, and a new search for open jobs
-- after MATCH_M. Therefore most fixes do not write to the indexes.
Supply.PLACE_MS, Supply.PLACE_M, Supply.MATCH_M = 30000, 100, 250

-- Writes fields of the record that the summary repeats (`lat lon fix_at acc rating load capacity services`), and others
-- with them. `tech` has the new values already. This function alone writes these fields, so that no script can forget
-- the summary (tests/lua/test_summaries.py). A call that writes a position begins with `lat`.
function Supply.write(zone, tech, ...)
  if (...) == 'lat' then MapIndex.place_person(zone, tech) end
  redis.call('HSET', tech.key, ...)
  if tech.indexed ~= '' then Summaries.write(zone, tech) end
end

function Supply.remove(zone, tech)
  if tech.indexed == '' then return end
  for service in string.gmatch(tech.indexed, '%S+') do redis.call('ZREM', zone.tag .. 'supply:' .. service, tech.id) end
  Summaries.remove(zone, tech)
  tech.indexed = ''
  redis.call('HSET', tech.key, 'indexed', '')
end

function Supply.place(zone, tech)
  for service in string.gmatch(tech.services, '%S+') do
    redis.call('GEOADD', zone.tag .. 'supply:' .. service, tech.lon, tech.lat, tech.id)
  end
  tech.indexed = tech.services
  redis.call('HSET', tech.key, 'indexed', tech.indexed, 'ilat', tech.lat, 'ilon', tech.lon, 'iat', zone.now)
end

-- Updates the index from the record. Returns whether the technician is in the index now.
function Supply.sync(zone, tech)
  if tech.online == '1' and not Tech.refusal(tech) and tech.load < tech.capacity and tech.lat ~= ''
    and tech.services ~= '' then
    if tech.indexed ~= tech.services then Supply.remove(zone, tech) end
    Supply.place(zone, tech)
    Summaries.write(zone, tech)
    return true
  end
  Supply.remove(zone, tech)
  return false
end

-- Schedules a search for open jobs for a technician who came online, came nearer or became free.
function Supply.schedule_match(zone, tech)
  redis.call('ZADD', zone.tag .. 'due', zone.now, 'match:' .. tech.id)
  redis.call('HSET', tech.key, 'mlat', tech.lat, 'mlon', tech.lon)
end
