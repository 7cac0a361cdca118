"""Write events to a zone's log for a benchmark, with entries in the format of DESIGN §4: one script increments the
sequence number and appends the entry.
"""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis

from bench.load.seed import ZONE, SeededZone
from engine.store import keys

EVENT_TYPE = "announcement.bench"
CHANNELS_PER_EVENT = 11
"""The number of channels of each event of ``append_many``: ten users and a role. An event has so many when ten
technicians lose a job to an eleventh.
"""
ABSENT_USERS = 100_000
"""The number of users to whom the events of ``append_many`` are addressed. None of them is connected."""

_EVENT_DATA = msgspec.json.encode(
    {
        "job": {"id": "job_main_01k9z6v3p2q8r5t7w9y1b3d5f7"},
        "reason": "taken",
        "message": "Booking already taken",
        "note": "Somebody else was nearer; there is more to do in the north of the city this morning",
    }
)

_APPEND_SCRIPT = """
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local seq
for n = 3, #ARGV do
  seq = redis.call('HINCRBY', KEYS[1], 'seq', 1)
  redis.call('XADD', KEYS[2], string.format('%.0f-0', seq), 'type', ARGV[1], 'to', ARGV[n], 'at', now,
    'actor', 'engine', 'bp', '', 'data', ARGV[2], 'cause', '')
end
return seq
"""

_APPEND_MANY_SCRIPT = """
local t = redis.call('TIME')
local now = string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
local count, strangers, each = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local seq, stranger = tonumber(redis.call('HGET', KEYS[1], 'seq') or 0), 0
for n = 1, count do
  local to = {'role:mediator'}
  for c = 2, each do
    stranger = (stranger + 7919) % strangers
    to[c] = 'user:user_' .. stranger
  end
  seq = seq + 1
  redis.call('XADD', KEYS[2], string.format('%.0f-0', seq), 'type', ARGV[1], 'to', table.concat(to, ' '), 'at', now,
    'actor', 'engine', 'bp', '', 'data', ARGV[2], 'cause', '')
end
redis.call('HSET', KEYS[1], 'seq', string.format('%.0f', seq))
return seq
"""


class LogWriter:
    """Appends to the log of a zone, over a connection without a timeout, because one script call may take seconds."""

    def __init__(self, client: Redis, append_sha: str, append_many_sha: str) -> None:
        self._client = client
        self._append_sha = append_sha
        self._append_many_sha = append_many_sha

    @classmethod
    async def open(cls, zone: SeededZone) -> LogWriter:
        """Return a log writer with its scripts loaded. The caller closes it."""
        client = zone.store.client_of(ZONE)
        return cls(client, await client.script_load(_APPEND_SCRIPT), await client.script_load(_APPEND_MANY_SCRIPT))

    async def append(self, *audiences: str) -> range:
        """Append one event for each of ``audiences`` (channels, separated by spaces) by one script call, and return
        their sequence numbers."""
        last = await self._run_script(self._append_sha, *audiences)
        return range(last - len(audiences) + 1, last + 1)

    async def append_many(self, count: int) -> None:
        """Append ``count`` events to absent users by one script call, each with ``CHANNELS_PER_EVENT`` channels."""
        await self._run_script(self._append_many_sha, str(count), str(ABSENT_USERS), str(CHANNELS_PER_EVENT))

    async def trim(self) -> None:
        """Remove all but about the last 1,000 entries of the log, so that entries that have been read do not fill the
        memory.
        """
        await self._client.xtrim(keys.log(ZONE), maxlen=1_000, approximate=True)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()

    async def _run_script(self, script: str, *arguments: str) -> int:
        reply: Any = self._client.evalsha(
            script, 2, keys.zone_meta(ZONE), keys.log(ZONE), EVENT_TYPE, _EVENT_DATA, *arguments
        )
        return int(await reply)
