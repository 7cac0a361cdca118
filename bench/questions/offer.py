"""How long does it take from a booking to its first offer when the scheduler runs in another process?

This process books jobs at irregular moments; a second process, ``callout serve --role scheduler``, opens their waves.
Both times come from the zone's log (whole milliseconds of Redis' clock), so the clocks of two machines are never
compared.
"""

from __future__ import annotations

import argparse
import asyncio
import random

import msgspec
import uvloop

from bench.load.openloop import percentile
from bench.load.seed import ZONE, SeededZone, open_seeded_zone
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, BenchError, Rig, pin_to_core, print_progress
from engine.events import Event
from engine.zone import log

RANDOM_SEED = 7
TIMEOUT_S = 10.0
ENTRIES_PER_PAGE = 1_000
POSITION = (52.52, 13.405)


class _JobId(msgspec.Struct):
    id: str


class _JobPayload(msgspec.Struct):
    job: _JobId


class _OfferPayload(msgspec.Struct):
    offer: _JobPayload


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--jobs", type=int, default=200, help="bookings in a round (default: 200)")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two, on average (default: 0.05)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Book jobs, wait for their offers, and read the times from the log."""
    with pin_to_core(LOAD_CORE):
        return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("offer", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.start_redis()
    _, scheduler = rig.start_callout(url, roles="scheduler")
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    for number in range(10):
        await zone.create_technician(f"technician_{number}", *POSITION)
    random_source, times_ms = random.Random(RANDOM_SEED), []
    redis_cpu_s = scheduler_cpu_s = 0.0
    for number in range(arguments.rounds):
        print_progress(f"round {number + 1}: {arguments.jobs} bookings")
        redis_cpu_s, scheduler_cpu_s = redis_cpu_s - valkey.cpu_s(), scheduler_cpu_s - scheduler.cpu_s()
        times_ms.append(await _run_round(zone, arguments.jobs, arguments.pause, random_source))
        redis_cpu_s, scheduler_cpu_s = redis_cpu_s + valkey.cpu_s(), scheduler_cpu_s + scheduler.cpu_s()
    await zone.close()
    jobs = arguments.jobs * arguments.rounds
    report.add(
        Figure("booking to first offer", "ms p50", [percentile(t, 0.5) for t in times_ms], goal=30, better="less"),
        Figure("booking to first offer, slowest", "ms p99", [percentile(t, 0.99) for t in times_ms], better="less"),
        Figure("Redis CPU, all together", "ms a job", [redis_cpu_s / jobs * 1e3], better="less"),
        Figure("scheduler CPU, all together", "ms a job", [scheduler_cpu_s / jobs * 1e3], better="less"),
    )
    return report


async def _run_round(zone: SeededZone, jobs: int, pause_s: float, random_source: random.Random) -> list[float]:
    """Book ``jobs`` jobs at irregular moments, and return the milliseconds from each booking to its first offer."""
    after = (await log.read_head(zone.store.redis, ZONE)).seq
    for _ in range(jobs):
        await asyncio.sleep(random_source.uniform(0, 2 * pause_s))
        await zone.create_job(*POSITION)
    began = asyncio.get_running_loop().time()
    while True:
        first_offer_ms = await _first_offer_ms(zone, after)
        if len(first_offer_ms) == jobs:
            return list(first_offer_ms.values())
        if asyncio.get_running_loop().time() - began > TIMEOUT_S:
            raise BenchError(f"{len(first_offer_ms)} of {jobs} jobs were offered to somebody")
        await asyncio.sleep(0.1)


async def _first_offer_ms(zone: SeededZone, after: int) -> dict[str, float]:
    """Return for each job the milliseconds from its booking to its first offer, from the log entries after
    ``after``.
    """
    booked_at: dict[str, int] = {}
    offered_at: dict[str, int] = {}
    while page := await log.read_range(zone.store.redis, ZONE, after, ENTRIES_PER_PAGE):
        for event in page:
            _record_event(event, booked_at, offered_at)
        after = page[-1].seq
    return {job: float(offered_at[job] - at) for job, at in booked_at.items() if job in offered_at}


def _record_event(event: Event, booked_at: dict[str, int], offered_at: dict[str, int]) -> None:
    if event.type == "job.created":
        booked_at[msgspec.json.decode(event.data, type=_JobPayload).job.id] = event.at
    elif event.type == "offer.created":
        offered_at.setdefault(msgspec.json.decode(event.data, type=_OfferPayload).offer.job.id, event.at)
