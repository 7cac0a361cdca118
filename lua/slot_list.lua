--[[ slot_list: lists which of these technicians could get a job of this service and customer, and when they are busy.
`full` is 1 if they are at capacity now. `visits` are their visits from `from` to `to` (ms) with a margin before and
after, as texts `start end lat lon` joined by commas.
KEYS    meta
ARGV    epoch  service  customer  from  to  ids…
OK      seq  version  now  (id  full  visits) …
ERR     STALE_EPOCH
FLAGS   allow-oom
TOUCHES {z}:tech:*  {z}:tech:*:plan  {z}:user:*:blocks  (same slot, names known only inside)
]]
--- @include "lib/reservation"
--- @include "lib/tech"
--- @include "lib/zone"
local meta = unpack(KEYS)
local epoch, service, customer, from, to = unpack(ARGV)
local zone = Zone.enter(meta, epoch)
if not zone then return {'STALE_EPOCH'} end
local reply = {'OK', '0', zone.seq, 0, string.format('%.0f', zone.now)}
for i = 6, #ARGV do
  local key = zone.tag .. 'tech:' .. ARGV[i]
  local tech = Tech.load(key)
  local visits = not Reservation.exclusion(zone, tech, service, customer, math.huge) and
    Reservation.visits_between(key, tonumber(from), tonumber(to))
  if visits then
    reply[#reply + 1] = tech.id
    reply[#reply + 1] = tech.load >= tech.capacity and '1' or '0'
    reply[#reply + 1] = table.concat(visits, ',')
  end
end
return reply
