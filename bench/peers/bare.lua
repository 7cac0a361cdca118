-- The least that a claim could do: read the job, change it, store the request, append the event. Four commands, without
-- checks of the technician, offers or lists: the cost of Redis itself, with which job_claim is compared.
if redis.call('HGET', KEYS[1], 'status') ~= 'broadcasted' then return {'TAKEN'} end
redis.call('HSET', KEYS[1], 'status', 'accepted', 'holder', ARGV[1])
redis.call('SET', KEYS[2], 'OK', 'PX', 600000)
return {'OK', redis.call('XADD', KEYS[3], '*', 'type', 'job.accepted', 'job', KEYS[1], 'technician', ARGV[1])}
