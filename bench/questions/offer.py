"""How long from a booking to its first offer, if the scheduler runs in another process than the booking?

This process books jobs at irregular moments; a ``callout serve --role scheduler`` beside it opens their waves. Both
times are the zone's own, as the log has them (whole milliseconds), so that no two clocks are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import random

import msgspec
import uvloop

from bench.load.openloop import percentile
from bench.load.seed import ZONE, Town, open_town
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, BenchError, Rig, pinned, say
from engine.events import Event
from engine.zone import log

SEED = 7
PATIENCE_S = 10.0
PAGE = 1_000
HERE = (52.52, 13.405)


class _Job(msgspec.Struct):
    id: str


class _About(msgspec.Struct):
    job: _Job


class _Offer(msgspec.Struct):
    offer: _About


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--jobs", type=int, default=200, help="bookings in a round (default: 200)")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two, on average (default: 0.05)")


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Book, wait, and read the log."""
    with pinned(LOAD_CORE):
        return uvloop.run(_run(rig, asked))


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report = Report("offer", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.redis()
    _, scheduler = rig.callout(url, roles="scheduler")
    town = await open_town(url)
    report.versions["valkey"] = str((await town.store.redis.info("server"))["valkey_version"])
    for number in range(10):
        await town.technician(f"technician_{number}", *HERE)
    chance, took = random.Random(SEED), []
    redis_s = scheduler_s = 0.0
    for number in range(asked.rounds):
        say(f"round {number + 1}: {asked.jobs} bookings")
        redis_s, scheduler_s = redis_s - valkey.cpu_s(), scheduler_s - scheduler.cpu_s()
        took.append(await _round(town, asked.jobs, asked.pause, chance))
        redis_s, scheduler_s = redis_s + valkey.cpu_s(), scheduler_s + scheduler.cpu_s()
    await town.close()
    jobs = asked.jobs * asked.rounds
    report.add(
        Figure("booking to first offer", "ms p50", [percentile(t, 0.5) for t in took], goal=30, better="less"),
        Figure("booking to first offer, slowest", "ms p99", [percentile(t, 0.99) for t in took], better="less"),
        Figure("Redis CPU, all together", "ms a job", [redis_s / jobs * 1e3], better="less"),
        Figure("scheduler CPU, all together", "ms a job", [scheduler_s / jobs * 1e3], better="less"),
    )
    return report


async def _round(town: Town, jobs: int, pause_s: float, chance: random.Random) -> list[float]:
    """Book ``jobs``, irregularly; the ms from each booking to its first offer."""
    after = (await log.read_head(town.store.redis, ZONE)).seq
    for _ in range(jobs):
        await asyncio.sleep(chance.uniform(0, 2 * pause_s))
        await town.job(*HERE)
    began = asyncio.get_running_loop().time()
    while True:
        found = await _took(town, after)
        if len(found) == jobs:
            return list(found.values())
        if asyncio.get_running_loop().time() - began > PATIENCE_S:
            raise BenchError(f"{len(found)} of {jobs} jobs were offered to somebody")
        await asyncio.sleep(0.1)


async def _took(town: Town, after: int) -> dict[str, float]:
    """By job, the ms from its booking to its first offer."""
    booked: dict[str, int] = {}
    offered: dict[str, int] = {}
    while page := await log.read_range(town.store.redis, ZONE, after, PAGE):
        for event in page:
            _noted(event, booked, offered)
        after = page[-1].seq
    return {job: float(offered[job] - at) for job, at in booked.items() if job in offered}


def _noted(event: Event, booked: dict[str, int], offered: dict[str, int]) -> None:
    if event.type == "job.created":
        booked[msgspec.json.decode(event.data, type=_About).job.id] = event.at
    elif event.type == "offer.created":
        offered.setdefault(msgspec.json.decode(event.data, type=_Offer).offer.job.id, event.at)
