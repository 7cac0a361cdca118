-- The least that a claim could be: see the job, set it, remember the request, tell of it. Four commands, no checks
-- of the person, no offers, no lists: what Redis itself costs, the floor that job_claim is held against.
if redis.call('HGET', KEYS[1], 'status') ~= 'broadcasted' then return {'TAKEN'} end
redis.call('HSET', KEYS[1], 'status', 'accepted', 'holder', ARGV[1])
redis.call('SET', KEYS[2], 'OK', 'PX', 600000)
return {'OK', redis.call('XADD', KEYS[3], '*', 'type', 'job.accepted', 'job', KEYS[1], 'technician', ARGV[1])}
