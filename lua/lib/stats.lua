-- What the processes of all servers say about themselves every two seconds, as one stream.
local Stats = {}

-- How long a sample stays (ms).
Stats.KEEP_MS = 15 * 60 * 1000
