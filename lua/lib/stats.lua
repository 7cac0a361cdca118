-- One stream with the samples of all processes of all servers. Each process adds a sample every two seconds.
local Stats = {}

-- How long a sample stays (ms).
Stats.KEEP_MS = 15 * 60 * 1000
