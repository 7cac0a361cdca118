-- Selects the entries that are due, oldest first. If at most three pages of entries are due, the result has all of
-- them. If more are due, the result has the oldest page, the newest page, and a page in between that advances with
-- every call. Thousands of entries of one class (a city that comes online at once) then do not hide later entries, and
-- hide entries of other classes among them only for a short time. (Rejected: a queue for each class. It would be exact,
-- but every script that makes or moves due work would have to maintain the queues.)
local Backlog = {}

-- How long an entry that a runner has taken stays hidden from the other runners, and how long a runner waits at most.
Backlog.TAKEN_MS, Backlog.MAX_WAIT_MS = 10000, 1000

function Backlog.select(zone, meta, due, page)
  local ready = redis.call('ZCOUNT', due, '-inf', zone.now)
  if ready == 0 then return {} end
  if ready <= 3 * page then return redis.call('ZRANGE', due, 0, ready - 1) end
  local at = tonumber(redis.call('HGET', meta, 'look')) or 0
  if at < page or at >= ready - page then at = page end
  -- A quarter less than a page, because the entries after it move forward when those of this call are done.
  redis.call('HSET', meta, 'look', at + page * 3 / 4)
  local met, found = {}, {}
  for _, first in ipairs({0, ready - page, at}) do
    for _, entry in ipairs(redis.call('ZRANGE', due, first, first + page - 1)) do
      if not met[entry] then met[entry], found[#found + 1] = true, entry end
    end
  end
  return found
end
