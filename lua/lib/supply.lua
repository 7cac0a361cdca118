-- The supply index: the technicians who could take a job now, by service. Every script that changes a technician
-- updates it. Exactly those in the index have a summary (lib/summaries).
--- @include "lib/map_index"
--- @include "lib/summaries"
--- @include "lib/tech"
--- @include "lib/window"
local Supply = {}

-- A technician who moves gets a new position in the index after PLACE_MS or PLACE_M, and a new search for open jobs
-- after MATCH_M. Therefore most fixes do not write to the indexes.
Supply.PLACE_MS, Supply.PLACE_M, Supply.MATCH_M = 30000, 100, 250

-- Writes fields of the record that the summary repeats (`lat lon fix_at acc rating load capacity services`), and other
-- fields in the same command. `tech` has the new values already. This function alone writes these fields, so that no
-- script can forget the summary (tests/lua/test_summaries.py). A call that writes a position begins with `lat`.
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

-- Returns where and since when (ms) the technician is indexed.
function Supply.place_text(zone, tech) return tech.lat .. ' ' .. tech.lon .. ' ' .. string.format('%.0f', zone.now) end

do
  -- Appends two values, or three. A loop over a list of any length takes ten times as long.
  local function add(list, first, second, third)
    local count = #list
    list[count + 1], list[count + 2] = first, second
    if third then list[count + 3] = third end
  end

  -- Schedules a search for open jobs, for a technician who can take jobs of these services now, and stores their place.
  local function look(zone, tech, services, fields)
    redis.call('ZADD', zone.tag .. 'due', zone.now, 'match:' .. tech.id)
    Window.wake(zone, services)
    add(fields, 'match', tech.lat .. ' ' .. tech.lon)
  end

  -- Updates the index from the record, and writes further fields of the record with it (names and values in turn). With
  -- `looks`, a technician in the index gets a search for open jobs: they came online, came nearer or became free.
  -- `match` in the record is where they were then. Returns whether the technician is in the index now.
  function Supply.sync(zone, tech, looks, ...)
    local fields, fits = {...}, tech.online == '1' and not Tech.refusal(tech) and tech.load < tech.capacity
      and tech.lat ~= '' and tech.services ~= ''
    if not fits or tech.indexed ~= tech.services then Supply.remove(zone, tech) end
    if fits then
      for service in string.gmatch(tech.services, '%S+') do
        redis.call('GEOADD', zone.tag .. 'supply:' .. service, tech.lon, tech.lat, tech.id)
      end
      add(fields, 'place', Supply.place_text(zone, tech))
      if tech.indexed ~= tech.services then add(fields, 'indexed', tech.services) end
      if looks then look(zone, tech, tech.services, fields) end
      tech.indexed = tech.services
      Summaries.write(zone, tech)
    end
    if #fields > 0 then redis.call('HSET', tech.key, unpack(fields)) end
    return fits
  end

  -- What the moves of one call write to keys of the zone, collected for one command each: `summaries` has ids and texts
  -- in turn, `people` and, for each service, `places` have lon, lat and id.
  function Supply.begin_moves() return {summaries = {}, people = {}, places = {}} end

  -- Writes a technician's new position to the record, with further `fields` (names and values in turn), and adds to
  -- `moves` what the keys of the zone need. `summary` is the present one, or false: only technicians in the index have
  -- one. `was` has the last position, `place` and `match`. `distance_m` returns the distance of a place; without it the
  -- index stays.
  function Supply.move(zone, moves, tech, summary, fields, was, distance_m)
    MapIndex.add_person(moves.people, zone, tech, was)
    if summary then add(moves.summaries, tech.id, Summaries.moved(summary, tech)) end
    if summary and distance_m then
      local lat, lon, since = string.match(was.place or '', '^([^ ]+) ([^ ]+) ([^ ]+)$')
      if not (lat and zone.now - since < Supply.PLACE_MS and distance_m(lat, lon) < Supply.PLACE_M) then
        add(fields, 'place', Supply.place_text(zone, tech))
        for _, service in ipairs(Summaries.services_of(summary)) do
          moves.places[service] = moves.places[service] or {}
          add(moves.places[service], tech.lon, tech.lat, tech.id)
        end
      end
      lat, lon = string.match(was.match or '', '^([^ ]+) ([^ ]+)$')
      if not (lat and distance_m(lat, lon) < Supply.MATCH_M) then look(zone, tech, string.match(summary, ':.*'), fields) end
    end
    redis.call('HSET', tech.key, unpack(fields))
  end
end

function Supply.write_moves(zone, moves)
  MapIndex.write_people(zone, moves.people)
  if #moves.summaries > 0 then Summaries.write_all(zone, moves.summaries) end
  for service, places in pairs(moves.places) do redis.call('GEOADD', zone.tag .. 'supply:' .. service, unpack(places)) end
end
