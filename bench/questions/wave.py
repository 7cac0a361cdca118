"""How long does a wave block its zone, in the worst case and in the ordinary case?

Worst case: 100,000 technicians are within 1 km of the job, and thousands of the nearest have had an offer. So every
radius that is searched contains enough technicians, but not enough who may still receive an offer. A wave that is not
complete after one script call continues in another. The longest call counts, because every command of the zone waits
for it. Ordinary case: the same number of technicians spread over a city, and the first ten offers of jobs at places all
over the city. Times are those of the script, measured by Redis itself (SLOWLOG).
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from statistics import median
from typing import Any

import uvloop

from bench.load.seed import SERVICE, ZONE, SeededZone, gather_in_batches, open_seeded_zone
from bench.report import Figure, Report
from bench.rig import SERVER_CORE, BenchError, Rig, pin_to_core, print_progress
from engine.store import keys
from engine.types import JobId

CENTRE = (52.5, 13.4)
CITY_CORNER = (48.0, 2.0)
CITY_KM = 65.0
METRES_PER_DEGREE = 111_195.0
MAX_CALLS_PER_WAVE = 2_000
"""If a wave needs more script calls than this, the benchmark fails."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--technicians", type=int, default=100_000, help="in the core, and in the city (100000)")
    parser.add_argument("--asked", type=int, nargs="+", default=[0, 2_000, 20_000], help="asked already (0 2000 20000)")
    parser.add_argument("--jobs", type=int, default=200, help="ordinary waves in a round (default: 200)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure each kind of wave in turn, round by round."""
    with pin_to_core(SERVER_CORE):
        return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("wave", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.start_redis()
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    print_progress(f"{arguments.technicians} technicians come online within 1 km")
    await gather_in_batches(
        zone.create_technician(f"user_d{n}", *spot)
        for n, spot in _numbered_positions(centre_positions(), arguments.technicians)
    )
    for asked_before in sorted({min(a, arguments.technicians - 100) for a in arguments.asked}):
        print_progress(f"the worst wave, {asked_before} asked already")
        report.add(*await _worst_figures(zone, asked_before, arguments.rounds))
    print_progress(f"{arguments.technicians} technicians come online in a city of {CITY_KM:.0f} km")
    await zone.store.redis.flushdb()
    await zone.close()
    zone = await open_seeded_zone(url)
    await gather_in_batches(
        zone.create_technician(f"user_c{n}", *spot)
        for n, spot in _numbered_positions(_city_positions(), arguments.technicians)
    )
    print_progress("ordinary waves")
    report.add(*await _ordinary_figures(zone, arguments.jobs, arguments.rounds))
    await zone.close()
    report.notes.append("technicians and jobs made by the engine's scripts; who was asked already is written into the")
    report.notes[-1] += " job's offers as offer_decline leaves it"
    return report


async def _worst_figures(zone: SeededZone, asked_before: int, rounds: int) -> list[Figure]:
    longest, typical, call_counts = [], [], []
    for _ in range(rounds):
        job = await zone.create_job(*CENTRE)
        await _decline_nearest(zone, job, asked_before)
        calls_ms = await _measure_wave_calls(zone, job)
        longest.append(max(calls_ms))
        typical.append(median(calls_ms))
        call_counts.append(float(len(calls_ms)))
    name = f"core, {asked_before:,} asked already" if asked_before else "core, nobody asked"
    return [
        Figure(f"{name}: longest call", "ms script", longest, goal=3, better="less"),
        Figure(f"{name}: median call", "ms script", typical),
        Figure(f"{name}: calls until offered", "calls", call_counts),
    ]


async def _ordinary_figures(zone: SeededZone, jobs: int, rounds: int) -> list[Figure]:
    middle, slow = [], []
    positions = _city_positions()
    for _ in range(rounds):
        calls_ms = sorted(
            [max(await _measure_wave_calls(zone, await zone.create_job(*next(positions)))) for _ in range(jobs)]
        )
        middle.append(median(calls_ms))
        slow.append(calls_ms[int(len(calls_ms) * 0.99)])
    return [
        Figure("city, first wave of ten within 3 km", "ms script", middle, note="median"),
        Figure("city, first wave of ten within 3 km, slowest", "ms script", slow, note="p99"),
    ]


async def _measure_wave_calls(zone: SeededZone, job: JobId) -> list[float]:
    """Call ``wave_open`` until the job's first wave has made all its offers, and return the milliseconds of each
    call.
    """
    redis, wave = zone.store.redis, zone.wave_call(job, 1)
    await redis.config_set("slowlog-log-slower-than", 0)
    await redis.config_set("slowlog-max-len", MAX_CALLS_PER_WAVE * 2)
    await redis.slowlog_reset()
    offer_count = 0
    for _ in range(MAX_CALLS_PER_WAVE):
        offers, more = (await zone.run(wave)).values
        offer_count += int(offers)
        if more == b"0":
            break
    if not offer_count:
        raise BenchError("a wave came to no offer: what was measured is not what was meant")
    await redis.config_set("slowlog-log-slower-than", -1)
    log = await redis.slowlog_get(MAX_CALLS_PER_WAVE * 2)
    return [entry["duration"] / 1000 for entry in log if entry["command"].startswith(b"FCALL")]


async def _decline_nearest(zone: SeededZone, job: JobId, count: int) -> None:
    """Store declined offers of the job for the ``count`` nearest technicians."""
    if not count:
        return
    lat, lon = CENTRE
    names = await zone.store.redis.geosearch(
        keys.technician_supply(ZONE, SERVICE), latitude=lat, longitude=lon, radius=2, unit="km", sort="ASC", count=count
    )
    for first in range(0, len(names), 1_000):
        offers: Any = dict.fromkeys(names[first : first + 1_000], "rejected 1 0 1 10")
        await zone.store.redis.hset(keys.job_offers(ZONE, job), mapping=offers)


def _numbered_positions(
    positions: Iterator[tuple[float, float]], count: int
) -> Iterator[tuple[int, tuple[float, float]]]:
    return zip(range(count), positions, strict=False)


def centre_positions() -> Iterator[tuple[float, float]]:
    """Yield random positions that are spread evenly within 1 km of the centre."""
    random_source = random.Random(1)
    while True:
        distance_m, angle = 1_000 * math.sqrt(random_source.random()), 2 * math.pi * random_source.random()
        yield offset_position(CENTRE, distance_m * math.cos(angle), distance_m * math.sin(angle))


def _city_positions() -> Iterator[tuple[float, float]]:
    """Yield random positions that are spread evenly over a square city."""
    random_source = random.Random(2)
    while True:
        yield offset_position(
            CITY_CORNER, random_source.uniform(0, CITY_KM * 1_000), random_source.uniform(0, CITY_KM * 1_000)
        )


def offset_position(position: tuple[float, float], north_m: float, east_m: float) -> tuple[float, float]:
    """Return the position that lies ``north_m`` and ``east_m`` metres to the north and to the east of ``position``."""
    lat = position[0] + north_m / METRES_PER_DEGREE
    return lat, position[1] + east_m / (METRES_PER_DEGREE * math.cos(math.radians(lat)))
