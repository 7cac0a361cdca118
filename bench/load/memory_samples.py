"""Samples of the memory and storage that a server uses (its processes, Redis, data directory), and how fast each figure
grows.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Any

import msgspec
import redis.asyncio as redis
from rich.table import Table

from bench.report import format_number
from bench.rig import cpu_s_from_stat
from engine.store import keys
from engine.types import DEFAULT_ZONE

MIB = 2**20
SCAN_COUNT = 500
_IDS = re.compile(r"(?<=:)(?:[^:}]*\d[^:}]*|cli_[a-z]+)")
"""The parts of a Redis key that name one object. They contain a digit, or are ids that the command ``callout token``
gives to users.
"""
COLUMNS = {
    "server_mib": ("the server's processes, RSS", "MiB"),
    "valkey_mib": ("Valkey, RSS", "MiB"),
    "redis_mib": ("Redis, used_memory", "MiB"),
    "keys": ("keys", ""),
    "permanent_keys": ("keys without a TTL", ""),
    "log_events": ("events in the log", ""),
    "archive_lag": ("events not archived yet", ""),
    "sqlite_mib": ("SQLite", "MiB"),
}
"""The figures of a sample that the table shows, each with its name and unit."""


class Sample(msgspec.Struct):
    """What a server uses ``at_s`` seconds after the start of the run. Sizes are in MiB."""

    at_s: float
    server_mib: float
    valkey_mib: float
    redis_mib: float
    keys: int
    permanent_keys: int
    """Keys without a TTL."""
    log_events: int
    archive_lag: int
    """How many events of the log are not archived yet."""
    sqlite_mib: float
    server_cpu_s: float
    """Processor seconds of the server's processes so far."""
    valkey_cpu_s: float
    processes_mib: dict[int, float] = {}
    """Each of the server's processes, by its id."""


class SampledServer:
    """A server whose memory is sampled: its processes, its Redis and its data directory."""

    def __init__(self, server_pid: int, valkey_pid: int, client: redis.Redis, data: Path) -> None:
        self._server_pid, self._valkey_pid, self._client, self._data = server_pid, valkey_pid, client, data

    async def sample(self, at_s: float) -> Sample:
        """Return a sample of what the server uses now."""
        server = _with_descendants(self._server_pid, but=self._valkey_pid)
        memory, space = await self._client.info("memory"), await self._client.info("keyspace")
        database = space.get("db0", {"keys": 0, "expires": 0})
        meta: Any = await self._client.hmget(keys.zone_meta(DEFAULT_ZONE), ["seq", "archived"])
        seq, archived = (int(value or 0) for value in meta)
        return Sample(
            at_s,
            sum((sizes := {pid: _rss_mib(pid) for pid in server}).values()),
            _rss_mib(self._valkey_pid),
            memory["used_memory"] / MIB,
            database["keys"],
            database["keys"] - database["expires"],
            int(await self._client.xlen(keys.log(DEFAULT_ZONE))),
            seq - archived,
            sum(file.stat().st_size for file in self._data.glob("callout.db*")) / MIB,
            sum(map(cpu_s_from_stat, server)),
            cpu_s_from_stat(self._valkey_pid),
            sizes,
        )

    async def count_keys(self) -> dict[str, KeyKind]:
        """Return the number and the bytes of the keys in Redis for each kind of key, with and without a TTL."""
        kinds: dict[str, KeyKind] = defaultdict(KeyKind)
        cursor = 0
        while True:
            found: Any = await self._client.scan(cursor, count=SCAN_COUNT)
            cursor, names = found
            pipe = self._client.pipeline(transaction=False)
            for name in names:
                pipe.pttl(name)
                pipe.memory_usage(name)
            facts = await pipe.execute()
            for name, ttl_ms, size in zip(names, facts[::2], facts[1::2], strict=True):
                if size is not None:
                    kinds[kind_of_key(name.decode())].add(size, ttl_ms)
            if cursor == 0:
                return dict(kinds)


class KeyKind(msgspec.Struct):
    """The number of keys of one kind and their bytes, with a TTL and without one. ``ttl_s`` is the longest TTL."""

    permanent: int = 0
    permanent_bytes: int = 0
    expiring: int = 0
    expiring_bytes: int = 0
    ttl_s: float = 0

    def add(self, size: int, ttl_ms: int) -> None:
        """Add a key. ``ttl_ms`` is -1 for a key without a TTL."""
        if ttl_ms == -1:
            self.permanent += 1
            self.permanent_bytes += size
        else:
            self.expiring += 1
            self.expiring_bytes += size
            self.ttl_s = max(self.ttl_s, ttl_ms / 1000)


def kind_of_key(key: str) -> str:
    """Return the key with ``*`` instead of each id, for example ``{main}:job:*:offers``."""
    return _IDS.sub("*", key)


def slope_a_minute(samples: Sequence[Sample], name: str) -> float:
    """Return the growth a minute of the member ``name`` of the samples: the slope of the least-squares line."""
    return linear_regression([s.at_s / 60 for s in samples], [getattr(s, name) for s in samples]).slope


def samples_table(samples: Sequence[Sample]) -> Table:
    """Return the table of the samples: after the warm-up, in the middle, at the end, and the slope."""
    table = Table("what", "after the warm-up", "middle", "end", "unit", "a minute", title="What the server holds")
    shown = samples[0], samples[len(samples) // 2], samples[-1]
    for name, (text, unit) in COLUMNS.items():
        values = (format_number(getattr(sample, name)) for sample in shown)
        table.add_row(text, *values, unit, f"{slope_a_minute(samples, name):+.2f}")
    return table


def kinds_table(before: dict[str, KeyKind], after: dict[str, KeyKind]) -> Table:
    """Return the table of the kinds of keys at the end. The kinds that have grown most come first."""
    table = Table("key", "without a TTL", "KiB", "grown by", "with a TTL", "KiB", "grown by", "TTL, s", title="Redis")
    rows = [(kind, before.get(kind, KeyKind()), after.get(kind, KeyKind())) for kind in {**before, **after}]
    rows.sort(key=lambda row: _total_bytes(row[1]) - _total_bytes(row[2]))
    for kind, was, now in rows:
        table.add_row(
            kind,
            *(str(now.permanent), _kib_text(now.permanent_bytes), _kib_text(now.permanent_bytes - was.permanent_bytes)),
            *(str(now.expiring), _kib_text(now.expiring_bytes), _kib_text(now.expiring_bytes - was.expiring_bytes)),
            f"{now.ttl_s:.0f}",
        )
    return table


def _total_bytes(kind: KeyKind) -> int:
    return kind.permanent_bytes + kind.expiring_bytes


def _kib_text(size: int) -> str:
    return f"{size / 1024:,.0f}"


def fastest_growth(samples: Sequence[Sample]) -> float:
    """Return the growth (MiB a minute) of the server's process that grows fastest."""
    lasting = set.intersection(*({*sample.processes_mib} for sample in samples))
    minutes = [sample.at_s / 60 for sample in samples]
    return max(linear_regression(minutes, [each.processes_mib[pid] for each in samples]).slope for pid in lasting)


def _rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def _with_descendants(pid: int, *, but: int) -> list[int]:
    """Return the process and all processes that it has started, except the process ``but`` and its descendants."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in map(int, children) if child != but for one in _with_descendants(child, but=but))]
