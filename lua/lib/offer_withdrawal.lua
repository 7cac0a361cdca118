-- Withdraws the open offers of a technician who may not take the jobs any more.
--- @include "lib/job"
--- @include "lib/job_fields"
--- @include "lib/offers"
--- @include "lib/wave_advance"
local OfferWithdrawal = {}

-- Withdraws open offers of a technician: those of jobs for which `matches` is true, or, without `matches`, all but
-- direct requests. A direct request does not compete with other offers, so it stays open while the technician is
-- offline. If `matches` withdraws a direct request, nobody is left to answer, and the job expires. `notify` is called
-- with each job whose offer was announced.
function OfferWithdrawal.withdraw(zone, technician, matches, notify)
  local pull = zone.tag .. 'tech:' .. technician .. ':offers'
  for _, id in ipairs(redis.call('ZRANGE', pull, 0, -1)) do
    local job = Job.load(zone.tag .. 'job:' .. id)
    local offers = zone.tag .. 'job:' .. id .. ':offers'
    local text = job and Job.is_searching(job) and redis.call('HGET', offers, technician)
    local opens = text and tonumber(string.match(text, '^sent %S+ (%S+)'))
    if not opens then redis.call('ZREM', pull, id)
    elseif matches and matches(job) or not matches and job.mode ~= 'direct' then
      Offers.put(offers, technician, 'withdrawn' .. string.sub(text, 5))
      redis.call('ZREM', pull, id)
      if job.mode ~= 'direct' then WaveAdvance.advance(zone, job, offers)
      else
        JobFields.set(job.key, 'expires', zone.now)
        redis.call('ZADD', zone.tag .. 'due', zone.now, 'expire:' .. id)
      end
      if opens <= zone.now then notify(job) end
    end
  end
end
