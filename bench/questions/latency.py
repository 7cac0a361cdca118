"""How long do a claim and its event take under mixed load, at 500 to 3,000 claims a second?

Claims are sent at fixed times, whether or not earlier claims have their replies, and are timed from the moment at which
they were due. Meanwhile ten waves a second search a centre of 100,000 technicians within 1 km, and once a second an
announcement is sent to 1,000 sockets, including those of the claimants. An event is timed from its commit, by Redis'
clock, until a client reads it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import math
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

import uvloop

from bench.load import fanout_target, openloop
from bench.load.log_writer import LogWriter
from bench.load.openloop import Claimer, ClaimLatencies, ClaimSchedule, percentile
from bench.load.seed import SeededZone, gather_in_batches, open_seeded_zone
from bench.load.sink import MessageAges, start_sink, stop_sink
from bench.questions import wave
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, BenchError, Child, Rig, pin_to_core, print_progress
from engine.types import JobId

SQUAD_COUNT = 128
"""The number of squads (groups of ten technicians, see bench/load/seed.py). Each job is offered to one squad."""
GOAL_CLAIMS_PER_S = 2_000
"""The claims a second for which DESIGN §9 sets its goal."""
P99_GOAL_MS = 10
RENEWAL_RADIUS_M = 250
"""The waves read no technician farther from the centre than this. The positions of the nearer technicians are renewed
before each step.
"""
START_PAUSE_S = 0.25
"""The time for which waves and announcements run before the first claim."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument(
        "--rates", type=int, nargs="+", default=[500, 1_000, 2_000, 3_000], help="claims/s of each step"
    )
    parser.add_argument("--technicians", type=int, default=100_000, help="in the core that waves search (100000)")
    parser.add_argument("--waves", type=float, default=10.0, help="a second (default: 10)")
    parser.add_argument("--sockets", type=int, default=1_000, help="who hear an announcement a second (default: 1000)")
    parser.set_defaults(seconds=5.0)


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure each rate of claims in turn, round by round."""
    with pin_to_core(LOAD_CORE):
        return uvloop.run(_run(rig, arguments))


class CoreShares(NamedTuple):
    """The percentage of a core that each process used while the claims ran."""

    gateway: float
    redis: float
    load: float


RoundFigures = tuple[ClaimLatencies, MessageAges, CoreShares]


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("latency", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.start_redis()
    at, gateway = rig.start_callout(url, roles="gateway")
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    squads = min(SQUAD_COUNT, arguments.sockets // 2)
    print_progress(
        f"{arguments.technicians} technicians come online within 1 km, {arguments.sockets} elsewhere connect"
    )
    technicians = CentreTechnicians(zone, arguments.technicians)
    await technicians.bring_online()
    listeners = await fanout_target.connect_technicians(
        rig, zone, at, [f"user_l{n}" for n in range(arguments.sockets - squads)]
    )
    claimers = await openloop.connect_claimers(rig, zone, urlsplit(at).port or 0, squads)
    log_writer = await LogWriter.open(zone)
    step = RateStep(rig, technicians, log_writer, claimers, listeners, arguments, (gateway, valkey))
    rounds_by_rate: dict[int, list[RoundFigures]] = {rate: [] for rate in arguments.rates}
    for number in range(arguments.rounds):
        for rate, rounds in rounds_by_rate.items():
            print_progress(f"round {number + 1}: {rate} claims a second for {arguments.seconds:g} s")
            jobs = await openloop.offer_jobs(zone, squads, int(rate * arguments.seconds))
            await technicians.renew_near_positions()
            await gateway.wait_until_idle()
            rounds.append(await step.measure(rate, jobs))
    await log_writer.close()
    await zone.close()
    _add_figures(report, rounds_by_rate)
    report.notes.append(
        f"{arguments.waves:g} waves/s among {arguments.technicians}, an announcement/s to {arguments.sockets} sockets"
    )
    report.notes.append("an event's commit is known in whole ms, cut off: up to 1 ms of each time is not there")
    return report


class CentreTechnicians:
    """The technicians within 1 km of the centre, and the waves that search them."""

    def __init__(self, zone: SeededZone, size: int) -> None:
        self._zone = zone
        self._positions = dict(zip((f"user_d{n}" for n in range(size)), wave.centre_positions(), strict=False))

    async def bring_online(self) -> None:
        """Write the records of all technicians, so that each is online at their position."""
        await gather_in_batches(self._zone.create_technician(who, *at) for who, at in self._positions.items())

    async def renew_near_positions(self) -> None:
        """Renew the positions near the centre. The others become stale, and no wave reaches them."""
        near_technicians = [
            who for who, at in self._positions.items() if _distance_from_centre_m(at) < RENEWAL_RADIUS_M
        ]
        await gather_in_batches(self._zone.create_technician(who, *self._positions[who]) for who in near_technicians)

    async def run_wave(self) -> int:
        """Book a job in the centre, run its first wave, and return the number of offers."""
        job, offer_count = await self._zone.create_job(*wave.CENTRE), 0
        for _ in range(wave.MAX_CALLS_PER_WAVE):
            offers, more = (await self._zone.run(self._zone.wave_call(job, 1))).values
            offer_count += int(offers)
            if more == b"0":
                break
        return offer_count


def _distance_from_centre_m(position: tuple[float, float]) -> float:
    """Return the distance from the centre in metres."""
    north, east = position[0] - wave.CENTRE[0], position[1] - wave.CENTRE[1]
    return wave.METRES_PER_DEGREE * math.hypot(north, east * math.cos(math.radians(wave.CENTRE[0])))


class RateStep:
    """The measurement of one rate of claims, with waves and announcements at the same time."""

    def __init__(
        self,
        rig: Rig,
        technicians: CentreTechnicians,
        log_writer: LogWriter,
        claimers: Sequence[Claimer],
        listeners: Sequence[socket.socket],
        arguments: argparse.Namespace,
        servers: tuple[Child, Child],
    ) -> None:
        self._rig = rig
        self._servers = servers
        self._technicians = technicians
        self._log_writer = log_writer
        self._claimers = claimers
        self._listeners = listeners
        self._waves = arguments.waves
        self._offers = 0

    async def measure(self, rate: int, jobs: Sequence[tuple[JobId, int]]) -> RoundFigures:
        """Claim all the jobs, ``rate`` a second. Raise BenchError if no announcement or no offer was made meanwhile."""
        self._offers = 0
        sink = start_sink(self._rig, b'{"type":"announcement.bench"', "at", self._listeners)
        async with _repeat_every(1 / self._waves, self._run_wave), _repeat_every(1.0, self._append_announcement):
            await asyncio.sleep(START_PAUSE_S)
            before = self._times_s()
            timed = await ClaimSchedule(self._claimers, jobs, rate).run()
            spent = [after - first for first, after in zip(before, self._times_s(), strict=True)]
        await asyncio.sleep(START_PAUSE_S)
        ages = await stop_sink(sink)
        if not ages.received or not self._offers:
            raise BenchError(
                f"{ages.received} announcements were received and {self._offers} offers made beside the claims"
            )
        shares = CoreShares(*(100 * one / spent[0] for one in spent[1:]))
        return timed, ages, shares

    def _times_s(self) -> list[float]:
        """Return the clock, and the processor seconds of gateway, Redis and this process so far."""
        return [time.perf_counter(), *(server.cpu_s() for server in self._servers), time.process_time()]

    async def _run_wave(self) -> None:
        self._offers += await self._technicians.run_wave()

    async def _append_announcement(self) -> None:
        await self._log_writer.append("role:technician")


@contextlib.asynccontextmanager
async def _repeat_every(period_s: float, action: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Start ``action`` once in each period while the block runs, whether or not the previous call has ended."""
    over = asyncio.Event()

    async def repeat() -> None:
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as task_group:
            for number in itertools.count(1):
                task_group.create_task(_await_action(action))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(began + number * period_s):
                        await over.wait()
                        return

    repeater = asyncio.create_task(repeat())
    try:
        yield
    finally:
        over.set()
        await repeater


async def _await_action(action: Callable[[], Awaitable[None]]) -> None:
    await action()


def _add_figures(report: Report, rounds_by_rate: dict[int, list[RoundFigures]]) -> None:
    for rate, rounds in rounds_by_rate.items():
        goal = P99_GOAL_MS if rate == GOAL_CLAIMS_PER_S else None
        for name, times in (
            ("claim", [timed.claims for timed, _, _ in rounds]),
            ("event", [timed.events for timed, _, _ in rounds]),
        ):
            for share in (0.5, 0.95, 0.99):
                values = [percentile(one, share) for one in times]
                figure_goal = goal if share == 0.99 else None
                unit = f"ms p{share * 100:.0f}"
                report.add(Figure(f"{rate}/s: {name}", unit, values, goal=figure_goal, better="less"))
        ages = [one for _, one, _ in rounds]
        report.add(Figure(f"{rate}/s: announcement", "ms p50", [one.p50_ms for one in ages]))
        report.add(Figure(f"{rate}/s: announcement", "ms p99", [one.p99_ms for one in ages], goal=goal, better="less"))
        for name in CoreShares._fields:
            report.add(Figure(f"{rate}/s: {name} busy", "% core", [getattr(shares, name) for _, _, shares in rounds]))
