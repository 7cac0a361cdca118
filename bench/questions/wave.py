"""How long does a wave block its zone, in the worst case and in the ordinary case?

Worst case: 100,000 technicians within 1 km of the job, and the nearest thousands were asked already. So no radius that
is searched contains too few people, and none contains enough who may still be asked. A wave that is not decided
continues in another turn of Redis. The longest of these turns counts, because every command of the zone waits for it.
Ordinary case: the same number in a city, and the first ten offers of jobs all over it. Times are the server's own
(SLOWLOG), of the script.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from statistics import median
from typing import Any

import uvloop

from bench.load.seed import SERVICE, ZONE, Town, in_batches, open_town
from bench.report import Figure, Report
from bench.rig import SERVER_CORE, BenchError, Rig, pinned, say
from engine.store import keys
from engine.types import JobId

CENTRE = (52.5, 13.4)
CITY = (48.0, 2.0)
CITY_KM = 65.0
METRES_PER_DEGREE = 111_195.0
MOST_TURNS = 2_000


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--technicians", type=int, default=100_000, help="in the core, and in the city (100000)")
    parser.add_argument("--asked", type=int, nargs="+", default=[0, 2_000, 20_000], help="asked already (0 2000 20000)")
    parser.add_argument("--jobs", type=int, default=200, help="ordinary waves in a round (default: 200)")


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Measure each kind of wave in turn, round by round."""
    with pinned(SERVER_CORE):
        return uvloop.run(_run(rig, asked))


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report = Report("wave", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.redis()
    town = await open_town(url)
    report.versions["valkey"] = str((await town.store.redis.info("server"))["valkey_version"])
    say(f"{asked.technicians} technicians come online within 1 km")
    await in_batches(town.technician(f"user_d{n}", *spot) for n, spot in _numbered(crowd(), asked.technicians))
    for already in sorted({min(a, asked.technicians - 100) for a in asked.asked}):
        say(f"the worst wave, {already} asked already")
        report.add(*await _worst(town, already, asked.rounds))
    say(f"{asked.technicians} technicians come online in a city of {CITY_KM:.0f} km")
    await town.store.redis.flushdb()
    await town.close()
    town = await open_town(url)
    await in_batches(town.technician(f"user_c{n}", *spot) for n, spot in _numbered(_city(), asked.technicians))
    say("ordinary waves")
    report.add(*await _ordinary(town, asked.jobs, asked.rounds))
    await town.close()
    report.notes.append("technicians and jobs made by the engine's scripts; who was asked already is written into the")
    report.notes[-1] += " job's offers as offer_decline leaves it"
    return report


async def _worst(town: Town, already: int, rounds: int) -> list[Figure]:
    longest, typical, turns = [], [], []
    for _ in range(rounds):
        job = await town.job(*CENTRE)
        await _decline_nearest(town, job, already)
        took = await _until_offered(town, job)
        longest.append(max(took))
        typical.append(median(took))
        turns.append(float(len(took)))
    name = f"core, {already:,} asked already" if already else "core, nobody asked"
    return [
        Figure(f"{name}: longest turn", "ms script", longest, goal=3, better="less"),
        Figure(f"{name}: median turn", "ms script", typical),
        Figure(f"{name}: turns until offered", "turns", turns),
    ]


async def _ordinary(town: Town, jobs: int, rounds: int) -> list[Figure]:
    middle, slow = [], []
    spots = _city()
    for _ in range(rounds):
        took = sorted([max(await _until_offered(town, await town.job(*next(spots)))) for _ in range(jobs)])
        middle.append(median(took))
        slow.append(took[int(len(took) * 0.99)])
    return [
        Figure("city, first wave of ten within 3 km", "ms script", middle, note="median"),
        Figure("city, first wave of ten within 3 km, slowest", "ms script", slow, note="p99"),
    ]


async def _until_offered(town: Town, job: JobId) -> list[float]:
    """Milliseconds of script of each turn of the job's first wave, until the wave is decided."""
    redis, wave = town.store.redis, town.wave(job, 1)
    await redis.config_set("slowlog-log-slower-than", 0)
    await redis.config_set("slowlog-max-len", MOST_TURNS * 2)
    await redis.slowlog_reset()
    made = 0
    for _ in range(MOST_TURNS):
        asked, more = (await town.run(wave)).rest
        made += int(asked)
        if more == b"0":
            break
    if not made:
        raise BenchError("a wave came to no offer: what was measured is not what was meant")
    await redis.config_set("slowlog-log-slower-than", -1)
    log = await redis.slowlog_get(MOST_TURNS * 2)
    return [entry["duration"] / 1000 for entry in log if entry["command"].startswith(b"FCALL")]


async def _decline_nearest(town: Town, job: JobId, count: int) -> None:
    """Let the ``count`` nearest have declined."""
    if not count:
        return
    lat, lon = CENTRE
    names = await town.store.redis.geosearch(
        keys.technician_supply(ZONE, SERVICE), latitude=lat, longitude=lon, radius=2, unit="km", sort="ASC", count=count
    )
    for first in range(0, len(names), 1_000):
        offers: Any = dict.fromkeys(names[first : first + 1_000], "rejected 1 0 1 10")
        await town.store.redis.hset(keys.job_offers(ZONE, job), mapping=offers)


def _numbered(spots: Iterator[tuple[float, float]], count: int) -> Iterator[tuple[int, tuple[float, float]]]:
    return zip(range(count), spots, strict=False)


def crowd() -> Iterator[tuple[float, float]]:
    """Places within 1 km of the centre, evenly dense."""
    chance = random.Random(1)
    while True:
        far, angle = 1_000 * math.sqrt(chance.random()), 2 * math.pi * chance.random()
        yield moved(CENTRE, far * math.cos(angle), far * math.sin(angle))


def _city() -> Iterator[tuple[float, float]]:
    """Places in a square city, evenly dense."""
    chance = random.Random(2)
    while True:
        yield moved(CITY, chance.uniform(0, CITY_KM * 1_000), chance.uniform(0, CITY_KM * 1_000))


def moved(place: tuple[float, float], north_m: float, east_m: float) -> tuple[float, float]:
    """The place so many metres to the north and east of another."""
    lat = place[0] + north_m / METRES_PER_DEGREE
    return lat, place[1] + east_m / (METRES_PER_DEGREE * math.cos(math.radians(lat)))
