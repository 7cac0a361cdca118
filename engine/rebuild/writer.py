"""Write the contents of keys to a zone that is closed for its rebuild.

All writes are calls of scripts that compare the rebuild's token (lua/lib/rebuild.lua): a process that lost the right to
write, because another one has begun the same rebuild, writes nothing any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from engine.rebuild.contents import Contents, KeyContent
from engine.store import keys
from engine.store.connection import Store
from engine.store.scripts import Args, Keys
from engine.types import Epoch, Zone

MAX_CALL_VALUES = 2_000
"""The most values in one call of a script: about 2 ms of Redis' time."""
MAX_PART_VALUES = 1_000
"""The most values of one command inside a script: Lua's stack has room for some thousand."""
MAX_CALLS_AT_ONCE = 4
KEYS_PER_SCAN = 1_000
SUBJECTS_PER_CALL = 32
CLOSED_EPOCH = Epoch("closed")


class LostRight(Exception):
    """Raised when this process may not write any more: another one rebuilds the zone, or has opened it."""


class TechnicianEntry(NamedTuple):
    """The record of a technician: ``fields`` of the hash. ``looks``: they may have missed a search for open jobs, so
    that it is done again."""

    id: str
    fields: Mapping[str, str]
    looks: bool


class ZoneWriter:
    """The writer of one rebuild of one zone. ``total`` and ``done`` count rows, for those who wait.

    Every function raises LostRight, Unavailable if Redis is away, and Indeterminate if a reply was lost: the rebuild
    then begins again.
    """

    def __init__(self, store: Store, zone: Zone, token: str, total: int) -> None:
        self.done = 0
        self.total = total
        self._store = store
        self._zone = zone
        self._token = token
        self._parts: list[tuple[str, str, str, Sequence[Any]]] = []
        self._value_count = 0
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
            cursor, names = await self._store.command(
                "SCAN", cursor, "MATCH", keys.zone_pattern(self._zone), "COUNT", KEYS_PER_SCAN
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
        for key, content in contents.items():
            expires_at = "" if content.expires_at is None else str(content.expires_at)
            for values in _chunks(content):
                self._parts.append((key, content.kind, expires_at, values))
                self._value_count += sum(map(len, values)) if content.kind == "stream" else len(values)
                if self._value_count >= MAX_CALL_VALUES:
                    await self._send_parts()

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
        if self._parts:
            await self._send_parts()
        await self._wait_for_calls(0)

    async def abandon(self) -> None:
        """Wait for the calls under way, whatever they return: the rebuild has failed."""
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._calls.clear()

    async def finish(self, seq: int, database: str, why: str) -> None:
        """End the rebuild: the head of the zone's log is ``seq``. The zone stays closed with ``why``."""
        await self.flush()
        await self._call("zone_finish", CLOSED_EPOCH, {"seq": seq, "database": database, "why": why})

    async def _send_parts(self) -> None:
        parts, self._parts, self._value_count = self._parts, [], 0
        args: Args = {"done": self.done, "parts": msgspec.json.encode(parts)}
        await self._wait_for_calls(MAX_CALLS_AT_ONCE - 1)
        self._calls.add(asyncio.create_task(self._call("zone_fill", CLOSED_EPOCH, args)))

    async def _wait_for_calls(self, remaining: int) -> None:
        """Wait until at most ``remaining`` calls are under way. Raises the error of a call that failed."""
        while len(self._calls) > remaining:
            done, self._calls = await asyncio.wait(self._calls, return_when=asyncio.FIRST_COMPLETED)
            for call in done:
                call.result()

    async def _call(self, script: str, epoch: Epoch, args: Args, **more_keys: str) -> None:
        names: Keys = {"meta": keys.zone_meta(self._zone), **more_keys}
        call = self._store.scripts[script].call(names, {"token": self._token, **args}, epoch)
        reply = await self._store.send_call(self._store.pipeline.submit, script, call)
        if reply[0] != b"OK":
            raise LostRight(f"{script}: {reply[0].decode()}")


def _chunks(content: KeyContent) -> Sequence[Sequence[Any]]:
    """Return the values of ``content`` as arguments of the command that writes them, in pieces that one command may
    have."""
    flat, width = _flatten(content)
    if len(flat) <= MAX_PART_VALUES:
        return (flat,)
    size = MAX_PART_VALUES // width * width
    return [flat[start : start + size] for start in range(0, len(flat), size)]


def _flatten(content: KeyContent) -> tuple[list[Any], int]:
    """Return the values one after the other, and how many of them belong together."""
    value: Any = content.value
    match content.kind:
        case "hash":
            return [part for pair in value.items() for part in pair], 2
        case "zset":
            return [part for member, score in value.items() for part in (score, member)], 2
        case "geo":
            return [part for member, place in value.items() for part in (place.lon, place.lat, member)], 3
        case "stream":
            return [[entry.id, *entry.fields] for entry in value], 1
        case "string":
            return [value], 1
        case _:
            return list(value), 1
