"""The figures of all processes of all servers, for ops: the last 15 minutes in steps of two seconds.

Each process adds a sample to one stream in Redis every ``STEP_S`` seconds (server/process/sampler.py). A sample has the
counts since the previous sample and the present sizes. Therefore a reader at any gateway gets the figures of all
gateways, workers and hosts together. (Rejected: to ask the other processes at each read. A parent can ask its workers,
but a host does not know the other hosts, and samples in the memory of a process would be lost with it.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec

from engine.events import rfc3339_of
from engine.process.metrics import BUCKET_BOUNDS_S
from engine.roles import OPS, require_role
from engine.store import keys
from engine.types import Principal

if TYPE_CHECKING:
    from engine.runtime import Engine

STEP_S = 2
_STEP_MS = STEP_S * 1000
RING_MS = 15 * 60 * 1000
ALIVE_MS = 4 * _STEP_MS
"""A process without a sample for this time (ms) counts as ended."""
MAX_SAMPLES = 100_000
"""The most samples that one reader gets: 15 minutes of about 200 processes."""


class ProcessSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The figures of one process. ``claims``, ``errors`` and ``took`` count since its previous sample: claimed jobs,
    requests with a server error, and commands by the duration buckets of ``BUCKET_BOUNDS_S``. The other members are
    present values; ``open_jobs`` is by zone.
    """

    process: str
    name: str
    host: str
    pid: int
    version: str
    roles: tuple[str, ...]
    started_at: str
    sockets: int = 0
    streams: int = 0
    lag_s: float = 0.0
    claims: int = 0
    errors: int = 0
    took: list[int] = []
    open_jobs: dict[str, int] = {}


class StatsPoint(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of all processes in one step of the ring. The percentiles are those of the commands that were
    answered in the step, None if there was no command; they are upper bounds of the histogram's buckets.
    """

    at: str
    claims_per_s: float
    open_jobs: int
    p50_s: float | None
    p99_s: float | None
    lag_s: float
    sockets: int
    errors: int


_decoder = msgspec.json.Decoder(ProcessSample)
TimedSample = tuple[int, ProcessSample]
"""The time (ms) at which Redis got a sample, and the sample."""


async def add_sample(engine: Engine, sample: ProcessSample) -> None:
    """Add a sample to those of all processes. Raises Unavailable, Indeterminate."""
    names = {"samples": keys.process_samples()}
    await engine.store.run_for_user("stats_add", keys=names, args={"sample": msgspec.json.encode(sample)})


async def read_stats(engine: Engine, caller: Principal, since: datetime | None = None) -> list[StatsPoint]:
    """Return the steps of the ring that are complete, the oldest first; with ``since`` those after it. Raises
    Forbidden, Unavailable.
    """
    require_role(caller, OPS)
    now = await engine.store.read_connection.time_ms()
    oldest = now - RING_MS
    after = max(oldest, int(since.timestamp() * 1000)) if since is not None else oldest
    samples = await _read_samples(engine, after - ALIVE_MS)
    return [point for at, point in make_points(samples, now) if at > after]


async def read_processes(engine: Engine, caller: Principal) -> list[dict[str, Any]]:
    """Return the processes that have added a sample lately, sorted by host and name. Raises Forbidden, Unavailable."""
    require_role(caller, OPS)
    now = await engine.store.read_connection.time_ms()
    last = {sample.process: (at, sample) for at, sample in await _read_samples(engine, now - ALIVE_MS)}
    shown = ("name", "host", "pid", "version", "roles", "started_at", "sockets", "streams", "lag_s")
    found = [
        {"id": s.process, **{n: getattr(s, n) for n in shown}, "seen_at": rfc3339_of(at)} for at, s in last.values()
    ]
    return sorted(found, key=lambda process: (process["host"], process["name"], process["pid"]))


async def _read_samples(engine: Engine, after: int) -> list[TimedSample]:
    found = await engine.store.read_connection.xrange(keys.process_samples(), str(max(0, after)), "+", MAX_SAMPLES)
    return [(int(entry.partition(b"-")[0]), _decoder.decode(fields[1])) for entry, fields in found]


def make_points(samples: Sequence[TimedSample], now: int) -> list[tuple[int, StatsPoint]]:
    """Return the points of all steps that ended before ``now`` (ms), each with the end of its step (ms).

    A process may miss a step by a few milliseconds. Therefore the sizes of a process are those of its last sample,
    until the sample is ``ALIVE_MS`` old.
    """
    by_step: dict[int, list[TimedSample]] = {}
    for at, sample in samples:
        by_step.setdefault(at // _STEP_MS, []).append((at, sample))
    last: dict[str, TimedSample] = {}
    points = []
    present = now // _STEP_MS
    for step in range(min(by_step, default=present), present):
        ends, own = (step + 1) * _STEP_MS, by_step.get(step, [])
        last |= {sample.process: (at, sample) for at, sample in own}
        last = {process: timed for process, timed in last.items() if timed[0] > ends - ALIVE_MS}
        if last:
            points.append((ends, _point_of(ends, [sample for _, sample in own], [s for _, s in last.values()])))
    return points


def _point_of(ends: int, counted: Iterable[ProcessSample], alive: Sequence[ProcessSample]) -> StatsPoint:
    counted = list(counted)
    took = [sum(column) for column in zip(*(sample.took for sample in counted if sample.took), strict=True)]
    open_jobs: dict[str, int] = {}
    for sample in alive:
        open_jobs |= sample.open_jobs
    return StatsPoint(
        at=rfc3339_of(ends),
        claims_per_s=sum(sample.claims for sample in counted) / STEP_S,
        open_jobs=sum(open_jobs.values()),
        p50_s=percentile_s(took, 0.5),
        p99_s=percentile_s(took, 0.99),
        lag_s=round(max((sample.lag_s for sample in alive), default=0.0), 4),
        sockets=sum(sample.sockets for sample in alive),
        errors=sum(sample.errors for sample in counted),
    )


def percentile_s(counts: Sequence[int], share: float) -> float | None:
    """Return the upper bound (s) of the bucket that contains the percentile ``share`` (0 to 1) of a histogram with the
    bounds ``BUCKET_BOUNDS_S``; the last bound for the bucket above it; None for an empty histogram.
    """
    total = sum(counts)
    if not total:
        return None
    place = next(i for i, below in enumerate(accumulate(counts)) if below >= share * total)
    return BUCKET_BOUNDS_S[min(place, len(BUCKET_BOUNDS_S) - 1)]
