"""Events that a benchmark writes to a zone's log: entries as in DESIGN §4, seq and entry in one step."""

from __future__ import annotations

from typing import Any

import msgspec
from redis.asyncio import Redis

from bench.load.seed import ZONE, Town
from engine.store import keys

TYPE = "announcement.bench"
CHANNELS = 11
"""On which each entry of ``pile`` is: ten users and a role, as where ten lost a job to an eleventh."""
STRANGERS = 100_000
"""Users to whom those are addressed, none of whom is connected."""

_NOTE = msgspec.json.encode(
    {
        "job": {"id": "job_main_01k9z6v3p2q8r5t7w9y1b3d5f7"},
        "reason": "taken",
        "message": "Booking already taken",
        "note": "Somebody else was nearer; there is more to do in the north of the city this morning",
    }
)

_TELL = """
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

_PILE = """
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


class News:
    """Writes into the log of ``town``, over a connection without a deadline: a turn of Redis may take seconds."""

    def __init__(self, client: Redis, tell: str, pile: str) -> None:
        self._client = client
        self._tell = tell
        self._pile = pile

    @classmethod
    async def loaded(cls, town: Town) -> News:
        """Ready to write; ``close`` it."""
        client = town.store.reader()
        return cls(client, await client.script_load(_TELL), await client.script_load(_PILE))

    async def tell(self, *to: str) -> range:
        """An event to each of ``to`` (channels, a space between them), in one turn; their seqs."""
        last = await self._run(self._tell, *to)
        return range(last - len(to) + 1, last + 1)

    async def pile(self, count: int) -> None:
        """``count`` events to strangers in one turn of Redis, ``CHANNELS`` channels each."""
        await self._run(self._pile, str(count), str(STRANGERS), str(CHANNELS))

    async def clear(self) -> None:
        """Forget the log but for its last entries: what all have read need not fill the memory."""
        await self._client.xtrim(keys.log(ZONE), maxlen=1_000, approximate=True)

    async def close(self) -> None:
        """Let the connection go."""
        await self._client.aclose()

    async def _run(self, script: str, *given: str) -> int:
        reply: Any = self._client.evalsha(script, 2, keys.zone_meta(ZONE), keys.log(ZONE), TYPE, _NOTE, *given)
        return int(await reply)
