-- The samples of all processes of all servers, one each in two seconds, as one stream.
local Stats = {}

-- How long a sample stays (ms).
Stats.KEEP_MS = 15 * 60 * 1000
