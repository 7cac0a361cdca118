-- The entries that are due, oldest first: all of them, or, where that is more than three pages, the oldest page, the
-- newest, and one in between that moves on with every look. Thousands of entries of one class (a city that comes
-- online at once) then do not hide what fell due after them, nor, for long, what lies among them. A queue per class
-- would be exact, but every script that makes or moves due work would have to keep it.
local Backlog = {}

-- How long an entry that a runner has taken stays hidden from the others, and how long a runner waits at most.
Backlog.TAKEN_MS, Backlog.MAX_WAIT_MS = 10000, 1000

function Backlog.select(zone, meta, due, page)
  local ready = redis.call('ZCOUNT', due, '-inf', zone.now)
  if ready == 0 then return {} end
  if ready <= 3 * page then return redis.call('ZRANGE', due, 0, ready - 1) end
  local at = tonumber(redis.call('HGET', meta, 'look')) or 0
  if at < page or at >= ready - page then at = page end
  redis.call('HSET', meta, 'look', at + page * 3 / 4) -- a quarter less: what is taken now draws the rest nearer
  local met, found = {}, {}
  for _, first in ipairs({0, ready - page, at}) do
    for _, entry in ipairs(redis.call('ZRANGE', due, first, first + page - 1)) do
      if not met[entry] then met[entry], found[#found + 1] = true, entry end
    end
  end
  return found
end
