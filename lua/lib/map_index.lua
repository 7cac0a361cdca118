-- The two geo indexes of the zone's map. `people` has everybody with a position of the last hour, `places` has the live
-- jobs. A person's entry is the centre of the grid cell that contains their position, so that most fixes do not write to
-- the index: a reader searches a box that is larger by half a cell, and then reads the records (people_list).
local MapIndex = {}

-- MARGIN_DEGREES in engine/domain/zone_map.py is half of CELL_DEGREES. GEOADD fails beyond MAX_LAT.
MapIndex.CELL_DEGREES, MapIndex.PEOPLE_MS = 0.005, 3600000
MapIndex.MAX_LAT, MapIndex.MAX_LON = 85.05112878, 180

do
  local function cell_of(degrees) return math.floor(degrees / MapIndex.CELL_DEGREES) end
  local function centre_of(degrees, limit)
    return math.max(-limit, math.min(limit, (cell_of(degrees) + 0.5) * MapIndex.CELL_DEGREES))
  end

  -- Returns `lon lat id` of a technician for GEOADD.
  function MapIndex.person_entry(tech)
    return {string.format('%.4f', centre_of(tech.lon, MapIndex.MAX_LON)),
      string.format('%.4f', centre_of(tech.lat, MapIndex.MAX_LAT)), tech.id}
  end

  -- Adds `lon lat id` to `entries` if the entry of a technician has to change; `was` has their last position.
  function MapIndex.add_person(entries, zone, tech, was)
    local is_known = was.lat and was.lat ~= '' and zone.now - (tonumber(was.fix_at) or 0) < MapIndex.PEOPLE_MS
    if is_known and cell_of(was.lat) == cell_of(tech.lat_degrees or tech.lat)
      and cell_of(was.lon) == cell_of(tech.lon_degrees or tech.lon) then return end
    for _, part in ipairs(MapIndex.person_entry(tech)) do entries[#entries + 1] = part end
  end
end

function MapIndex.write_people(zone, entries)
  if #entries > 0 then redis.call('GEOADD', zone.tag .. 'people', unpack(entries)) end
end

-- Enters the new position of `tech`. Call this before the record is updated: it reads the last position from the record.
function MapIndex.place_person(zone, tech)
  local was, entries = redis.call('HMGET', tech.key, 'lat', 'lon', 'fix_at'), {}
  MapIndex.add_person(entries, zone, tech, {lat = was[1], lon = was[2], fix_at = was[3]})
  MapIndex.write_people(zone, entries)
end

function MapIndex.is_live(phase) return phase == 'open' or phase == 'assigned' or phase == 'active' end

-- Enters a job that became live, and removes a job that is over. `was` is its phase before the step.
function MapIndex.sync_job(zone, job, was)
  local is_live = MapIndex.is_live(job.phase)
  if is_live == MapIndex.is_live(was) then return end
  if is_live then MapIndex.place_job(zone, job) else redis.call('ZREM', zone.tag .. 'places', job.id) end
end

-- Enters the position that the job's record has now; the record of a new job is not written yet.
function MapIndex.place_job(zone, job)
  local row = job.lon and {job.lon, job.lat} or redis.call('HMGET', job.key, 'lon', 'lat')
  redis.call('GEOADD', zone.tag .. 'places', row[1], row[2], job.id)
end
