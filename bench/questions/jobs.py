"""How many whole jobs a second does one core of Redis carry, and which script costs what?

A whole job is a booking, a wave with ten offers, a claim, the four steps of ``home_service`` and its archiving: the
archiver's reads of the log, the script that records that the job is in SQL, and the trim of the log. The figure
contains no gateway, no fixes and no SQL. The engine's own pipeline packs the calls. The time is the processor time of
Redis, so a core that is shared with the load does not distort the figure.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from typing import cast

import uvloop

from bench.load.seed import (
    CLAIM,
    STEPS,
    ZONE,
    ScriptCall,
    SeededZone,
    bring_squads_online,
    member_id,
    open_seeded_zone,
    squad_position,
)
from bench.report import Figure, Report
from bench.rig import Child, Rig, print_progress
from engine.store import keys
from engine.types import JobId, new_job_id

SQUAD_COUNT = 256
CONCURRENT_CALLS = 64
"""The calls that are in flight: two windows of the pipeline."""
EVENTS_PER_READ = 500
"""How many events one read of the archiver returns (engine/workers/archiver.py)."""
PARTS = ("booking", "wave", CLAIM, *STEPS, "archive")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--jobs", type=int, default=5_000, help="jobs in a round (default: 5000)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """In each round, take new jobs through their life, one kind of step after the other, and measure each kind."""
    return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("jobs", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.start_redis()
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    costs: dict[str, list[float]] = {part: [] for part in PARTS}
    entry_bytes: list[float] = []
    for number in range(arguments.rounds):
        print_progress(f"round {number + 1}: {arguments.jobs} whole jobs")
        await bring_squads_online(zone, SQUAD_COUNT)
        entry_bytes.append(await _measure_round(zone, valkey, arguments.jobs, costs))
    await zone.close()
    totals = [sum(parts) for parts in zip(*costs.values(), strict=True)]
    report.add(
        Figure("whole jobs that fill a core of Redis", "jobs/s", [1e6 / total for total in totals], goal=1_500),
        Figure("one whole job", "µs of Redis", totals),
        *(Figure(f"of it: {part}", "µs of Redis", values) for part, values in costs.items()),
        Figure("its events", "bytes in the log", entry_bytes),
    )
    report.notes.append(f"{arguments.jobs} jobs a round, ten offers each, four steps; Valkey with AOF, everysec")
    report.notes.append("no gateway, no fixes, no SQL; processor time of Redis: scripts, network, AOF")
    return report


async def _measure_round(zone: SeededZone, valkey: Child, count: int, costs: dict[str, list[float]]) -> float:
    """Take ``count`` jobs through all parts. Add the processor time of each part for one job to ``costs``. Return how
    many bytes of the log belong to one job.
    """
    jobs = [(new_job_id(ZONE), number % SQUAD_COUNT) for number in range(count)]
    members = [(job, member_id(squad)) for job, squad in jobs]
    calls = {
        "booking": [zone.booking_call(job, *squad_position(squad)) for job, squad in jobs],
        "wave": [zone.wave_call(job, 1) for job, _ in jobs],
        CLAIM: [zone.claim_call(job, member) for job, member in members],
        **{step: [zone.step_call(job, member, step) for job, member in members] for step in STEPS},
    }
    bytes_before = await zone.store.redis.memory_usage(keys.log(ZONE), samples=0) or 0
    for part, part_calls in calls.items():
        before = valkey.cpu_s()
        await _run_packed(zone, part_calls)
        costs[part].append((valkey.cpu_s() - before) / count * 1e6)
    log_bytes = await zone.store.redis.memory_usage(keys.log(ZONE), samples=0) or 0
    before = valkey.cpu_s()
    await _archive(zone, [job for job, _ in jobs])
    costs["archive"].append((valkey.cpu_s() - before) / count * 1e6)
    return (log_bytes - bytes_before) / count


async def _run_packed(zone: SeededZone, calls: Sequence[ScriptCall]) -> None:
    """Make all calls, ``CONCURRENT_CALLS`` at a time. A refused call raises."""
    todo = iter(calls)

    async def run_calls() -> None:
        for call in todo:
            await zone.run(call)

    await asyncio.gather(*(run_calls() for _ in range(CONCURRENT_CALLS)))


async def _archive(zone: SeededZone, jobs: Sequence[JobId]) -> None:
    """Read the whole log as the archiver does, record each job as archived, and trim the log."""
    redis, log, last = zone.store.redis, keys.log(ZONE), b"0-0"
    while entries := await redis.xrange(log, min=b"(" + last, count=EVENTS_PER_READ):
        last = cast("bytes", entries[-1][0])
    await _run_packed(zone, [zone.prepare("job_archived", job=job, id=job) for job in jobs])
    await redis.xtrim(log, minid=last)
