-- The summaries: what a search compares of a technician in the supply index, `lat lon fix_at uncertainty_m rating
-- workload :service:…:`, with fix_at in ms, the uncertainty of Tech.uncertainty_m, and workload = load ÷ capacity. One
-- hash of the zone has all of them, so that a search reads its candidates by one HMGET. (Rejected: to read the records
-- one by one. It took half of a match.) A summary repeats the record and is never older: only lib/supply writes these
-- fields of a record, and the summaries.
--- @include "lib/memo"
--- @include "lib/tech"
local Summaries = {}

function Summaries.write(zone, tech)
  redis.call('HSET', zone.tag .. 'summaries', tech.id, string.format('%s %s %.0f %.14g %s %.17g :%s:', tech.lat,
    tech.lon, tech.fix_at, Tech.uncertainty_m(tech.acc), tech.rating, tech.load / tech.capacity,
    string.gsub(tech.services, ' ', ':')))
end

-- Returns the summary of a technician who moved; `at_text` is their `fix_at` as a text.
function Summaries.moved(summary, tech)
  local uncertainty_m = Tech.uncertainty_m(tech.acc)
  return tech.lat .. ' ' .. tech.lon .. ' ' .. tech.at_text .. ' ' ..
    (uncertainty_m == 0 and '0' or string.format('%.14g', uncertainty_m)) .. string.match(summary, '^[^ ]+ [^ ]+ [^ ]+ [^ ]+(.+)')
end

-- Writes several summaries: ids and texts in turn.
function Summaries.write_all(zone, ids_and_texts) redis.call('HSET', zone.tag .. 'summaries', unpack(ids_and_texts)) end

function Summaries.remove(zone, tech) redis.call('HDEL', zone.tag .. 'summaries', tech.id) end

-- Returns the summaries of these technicians, in their order; false for a technician without a summary.
function Summaries.read(zone, ids) return redis.call('HMGET', zone.tag .. 'summaries', unpack(ids)) end

-- Returns the summary's lat, lon, fix_at, uncertainty_m, rating, workload and services, as texts; nil for ''. `[^ ]+`
-- takes half the time of `%S+`.
function Summaries.parse(summary)
  return string.match(summary, '^([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) ([^ ]+) (.+)')
end

do
  local services_of_text = Memo.of(function(text)
    local services = {}
    for service in string.gmatch(text, '[^:]+') do services[#services + 1] = service end
    return services
  end)

  -- Returns the services of a summary. Many technicians provide the same.
  function Summaries.services_of(summary) return services_of_text(string.match(summary, ':.*')) end
end

-- Returns the text by which a service is found in the services of a summary.
function Summaries.service_text(service) return ':' .. service .. ':' end
