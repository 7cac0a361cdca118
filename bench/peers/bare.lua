-- The least that a claim could do in four commands: read the job, change it, store the request, append the event. It
-- does not check the technician and writes no offers or lists. So its time is the cost of Redis itself, with which
-- job_claim is compared.
if redis.call('HGET', KEYS[1], 'status') ~= 'broadcasted' then return {'TAKEN'} end
redis.call('HSET', KEYS[1], 'status', 'accepted', 'holder', ARGV[1])
redis.call('SET', KEYS[2], 'OK', 'PX', 600000)
return {'OK', redis.call('XADD', KEYS[3], '*', 'type', 'job.accepted', 'job', KEYS[1], 'technician', ARGV[1])}
