"""Write the contents of keys to a zone that is closed for its rebuild.

All writes are calls of scripts that compare the rebuild's token (lua/lib/rebuild.lua): a process that lost the right to
write, because another one has begun the same rebuild, writes nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from engine.rebuild.contents import Contents, KeyKind
from engine.store import keys
from engine.store.connection import Store
from engine.store.scripts import Args, Keys
from engine.types import Epoch, Zone

MAX_CALL_VALUES = 2_000
"""The most values in one call of a script: about 2 ms of Redis' time."""
MAX_PART_VALUES = 1_000
"""The most values of one command inside a script: Lua's stack has room for some thousand."""
MAX_CALLS_AT_ONCE = 4
VALUES_PER_TURN = 500
"""After so many values (about 1 ms) the process does its other work. The waiting calls are sent then."""
BUFFERED_VALUES = 40_000
"""How many values are collected before they are written: the members that many jobs add to a key are one command then,
which halves Redis' work."""
KEYS_PER_SCAN = 1_000
SUBJECTS_PER_CALL = 32
CLOSED_EPOCH = Epoch("closed")


class LostRight(Exception):
    """Raised when this process may not write any more: another one rebuilds the zone, or has opened it."""


class TechnicianEntry(NamedTuple):
    """The record of a technician, as the ``fields`` of a Redis hash. ``looks``: open jobs are searched for them again,
    because they came online or became free so late that the search may not have been done."""

    id: str
    fields: Mapping[str, str]
    looks: bool


_Parts = dict[tuple[str, KeyKind, int | None], list[Any]]
"""The values to write, by key, kind and end of the key."""


class ZoneWriter:
    """Writes a zone's keys in one rebuild. Of ``total`` rows of SQL, ``done`` are written: this is shown as progress.

    Every method raises LostRight, Unavailable if Redis is away, and Indeterminate if a reply was lost: the rebuild
    then begins again.
    """

    def __init__(self, store: Store, zone: Zone, token: str, total: int) -> None:
        self.done = 0
        self.total = total
        self._store = store
        self._zone = zone
        self._token = token
        self._parts: _Parts = {}
        self._value_count = 0
        self._values_since_turn = 0
        self._sender: asyncio.Task[None] | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def begin(self, found: Epoch, now: int) -> None:
        """Close the zone, in which Redis had the epoch ``found`` ("": none), and take the right to write. ``now`` is
        the time (ms) below which the zone's clock must not be."""
        await self._call("zone_rebuild", found, {"total": self.total, "now": now})

    async def clear(self) -> None:
        """Delete all keys of the zone except its meta."""
        cursor: Any = 0
        meta = keys.zone_meta(self._zone).encode()
        while True:
            cursor, names = await self._store.command_on(
                self._store.zones[self._zone].shard,
                "SCAN",
                cursor,
                "MATCH",
                keys.zone_pattern(self._zone),
                "COUNT",
                KEYS_PER_SCAN,
            )
            await self.delete(name for name in names if name != meta)
            if cursor in (0, b"0"):
                return

    async def delete(self, names: Iterable[str | bytes]) -> None:
        """Delete these keys."""
        found = list(names)
        for start in range(0, len(found), KEYS_PER_SCAN):
            await self._call("zone_clear", CLOSED_EPOCH, {"names": found[start : start + KEYS_PER_SCAN]})

    async def forget(self, jobs: Sequence[str], rooms: Sequence[str], tasks: Sequence[str]) -> None:
        """Remove these jobs, rooms and scheduled tasks, with their entries in keys that they share with others."""
        for start in range(0, max(map(len, (jobs, rooms, tasks))), SUBJECTS_PER_CALL):
            lists = {"jobs": jobs, "rooms": rooms, "tasks": tasks}
            args = {name: msgspec.json.encode(ids[start : start + SUBJECTS_PER_CALL]) for name, ids in lists.items()}
            await self._call("zone_forget", CLOSED_EPOCH, args, due=keys.due_tasks(self._zone))

    async def write(self, contents: Contents, *, rows: int) -> None:
        """Write ``contents``, which ``rows`` rows of SQL gave, some time before ``flush`` returns. Existing keys get
        further members."""
        self.done += rows
        parts, count = self._parts, 0
        for key, (kind, value, expires_at) in contents.items():
            values = _FLATTEN[kind](value)
            count += sum(map(len, values)) if kind == "stream" else len(values)
            before = parts.setdefault((key, kind, expires_at), values)
            if before is values:
                continue
            if kind == "string":
                before[:] = values
            else:
                before += values
        self._value_count += count
        self._values_since_turn += count
        if self._value_count >= BUFFERED_VALUES:
            await self._send_parts()
        if self._values_since_turn >= VALUES_PER_TURN:
            self._values_since_turn = 0
            await asyncio.sleep(0)

    async def write_technicians(self, entries: Sequence[TechnicianEntry]) -> None:
        """Write the records of technicians, and their places in the indexes."""
        self.done += len(entries)
        records = [(each.id, [part for pair in each.fields.items() for part in pair], each.looks) for each in entries]
        await self._call(
            "technician_fill",
            CLOSED_EPOCH,
            {"done": self.done, "records": msgspec.json.encode(records)},
            seen=keys.last_seen(self._zone),
        )

    async def flush(self) -> None:
        """Wait until everything is written."""
        await self._send_parts()
        await self._wait_for_sender()

    async def abandon(self) -> None:
        """Wait for the calls that are running, and ignore their results, because the rebuild has failed."""
        if self._sender:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._calls.clear()

    async def finish(self, seq: int, database: str, why: str) -> None:
        """End the rebuild: the head of the zone's log is ``seq``. The zone stays closed with ``why``."""
        await self.flush()
        await self._call("zone_finish", CLOSED_EPOCH, {"seq": seq, "database": database, "why": why})

    async def _send_parts(self) -> None:
        """Begin to send what is collected, after all that was collected before is sent."""
        await self._wait_for_sender()
        parts, self._parts, self._value_count = self._parts, {}, 0
        self._sender = asyncio.create_task(self._send(parts, self.done))

    async def _wait_for_sender(self) -> None:
        """Wait until what is being sent is written. Raises the error of a call that failed."""
        if self._sender:
            await self._sender

    async def _send(self, parts: _Parts, done: int) -> None:
        for some in _split(parts):
            args: Args = {"done": done, "parts": msgspec.json.encode(some)}
            await self._wait_for_calls(MAX_CALLS_AT_ONCE - 1)
            self._calls.add(asyncio.create_task(self._call("zone_fill", CLOSED_EPOCH, args)))
        await self._wait_for_calls(0)

    async def _wait_for_calls(self, remaining: int) -> None:
        """Wait until at most ``remaining`` calls are under way. Raises the error of a call that failed."""
        while len(self._calls) > remaining:
            done, self._calls = await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
            for call in done:
                call.result()

    async def _call(self, script: str, epoch: Epoch, args: Args, **more_keys: str) -> None:
        names: Keys = {"meta": keys.zone_meta(self._zone), **more_keys}
        call = self._store.scripts[script].call(names, {"token": self._token, **args}, epoch)
        reply = await self._store.send_call(self._store.zones[self._zone].shard.pipeline.submit, script, call)
        if reply[0] != b"OK":
            raise LostRight(f"{script}: {reply[0].decode()}")


def _split(parts: _Parts) -> Iterator[list[tuple[str, str, str, list[Any]]]]:
    """Yield ``parts`` in pieces for one call each, as lua/lib/rebuild.lua reads them."""
    piece: list[tuple[str, str, str, list[Any]]] = []
    count = 0
    for (key, kind, expires_at), values in parts.items():
        end = "" if expires_at is None else str(expires_at)
        size = MAX_PART_VALUES // VALUES_PER_MEMBER.get(kind, 1) * VALUES_PER_MEMBER.get(kind, 1)
        for start in range(0, len(values), size):
            some = values[start : start + size] if len(values) > size else values
            piece.append((key, kind, end, some))
            count += sum(map(len, some)) if kind == "stream" else len(some)
            if count >= MAX_CALL_VALUES:
                yield piece
                piece, count = [], 0
    if piece:
        yield piece


VALUES_PER_MEMBER: Mapping[KeyKind, int] = {"hash": 2, "zset": 2, "geo": 3}
"""How many values belong together, where it is more than one."""


_FLATTEN: Mapping[KeyKind, Callable[[Any], list[Any]]] = {
    "hash": lambda value: list(chain.from_iterable(value.items())),
    "zset": lambda value: [part for member, score in value.items() for part in (score, member)],
    "geo": lambda value: [part for member, place in value.items() for part in (place.lon, place.lat, member)],
    "stream": lambda value: [[entry.id, *entry.fields] for entry in value],
    "string": lambda value: [value],
    "set": list,
    "list": list,
}
"""Functions that return the values one after the other, as the command that writes them takes them."""
