"""How long do a claim and its event take under mixed load, at 500 to 3,000 claims a second?

Claims are sent at fixed times, whether or not earlier claims were answered, and are timed from the moment at which they
were due. Meanwhile ten waves a second search a centre of 100,000 technicians within 1 km, and once a second an
announcement goes to 1,000 sockets, including those of the claimants. An event is timed from its commit, by Redis'
clock, until it is read.
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

import msgspec
import uvloop

from bench.load import audience, openloop
from bench.load.news import News
from bench.load.openloop import Claimer, Timed, Timetable, percentile
from bench.load.seed import Town, in_batches, open_town
from bench.questions import wave
from bench.report import Figure, Report
from bench.rig import BENCH, LOAD_CORE, BenchError, Child, Rig, pinned, say
from engine.types import JobId

SQUADS = 128
GOAL_AT = 2_000
"""Claims a second at which DESIGN §9 sets its goal."""
GOAL_MS = 10
NEAR_M = 250
"""Whom a wave in the core may come to look at: their positions are renewed before each step."""
LEAD_S = 0.25
"""The rest is on its way for so long before the first claim."""


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument(
        "--rates", type=int, nargs="+", default=[500, 1_000, 2_000, 3_000], help="claims/s of each step"
    )
    parser.add_argument("--technicians", type=int, default=100_000, help="in the core that waves search (100000)")
    parser.add_argument("--waves", type=float, default=10.0, help="a second (default: 10)")
    parser.add_argument("--sockets", type=int, default=1_000, help="who hear an announcement a second (default: 1000)")
    parser.set_defaults(seconds=5.0)


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Measure each step in turn, round by round."""
    with pinned(LOAD_CORE):
        return uvloop.run(_run(rig, asked))


class Busy(NamedTuple):
    """Percent of a core that each of them had while the claims ran."""

    gateway: float
    redis: float
    load: float


class Heard(msgspec.Struct):
    """What ``sink`` counted: announcements, and how old they were when they came (ms)."""

    heard: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report = Report("latency", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.redis()
    at, gateway = rig.callout(url, roles="gateway")
    town = await open_town(url)
    report.versions["valkey"] = str((await town.store.redis.info("server"))["valkey_version"])
    squads = min(SQUADS, asked.sockets // 2)
    say(f"{asked.technicians} technicians come online within 1 km, {asked.sockets} elsewhere connect")
    crowd = Crowd(town, asked.technicians)
    await crowd.arrive()
    listeners = await audience.join(rig, town, at, [f"user_l{n}" for n in range(asked.sockets - squads)])
    racers = await openloop.claimers(rig, town, urlsplit(at).port or 0, squads)
    news = await News.loaded(town)
    step = Step(rig, crowd, news, racers, listeners, asked, (gateway, valkey))
    found: dict[int, list[tuple[Timed, Heard, Busy]]] = {rate: [] for rate in asked.rates}
    for number in range(asked.rounds):
        for rate, rounds in found.items():
            say(f"round {number + 1}: {rate} claims a second for {asked.seconds:g} s")
            jobs = await openloop.offered(town, squads, int(rate * asked.seconds))
            await crowd.renew()
            await gateway.settled()
            rounds.append(await step.measured(rate, jobs))
    await news.close()
    await town.close()
    _figures(report, found)
    report.notes.append(
        f"{asked.waves:g} waves/s among {asked.technicians}, an announcement/s to {asked.sockets} sockets"
    )
    report.notes.append("an event's commit is known in whole ms, cut off: up to 1 ms of each time is not there")
    return report


class Crowd:
    """The core: who stands there, and the waves that search it."""

    def __init__(self, town: Town, size: int) -> None:
        self._town = town
        self._spots = dict(zip((f"user_d{n}" for n in range(size)), wave.crowd(), strict=False))

    async def arrive(self) -> None:
        """All come online."""
        await in_batches(self._town.technician(who, *spot) for who, spot in self._spots.items())

    async def renew(self) -> None:
        """Fresh positions for those near the centre: others' grow stale, and no wave gets as far."""
        near = [who for who, spot in self._spots.items() if _metres(spot) < NEAR_M]
        await in_batches(self._town.technician(who, *self._spots[who]) for who in near)

    async def search(self) -> int:
        """A new job in the centre and its first wave, with as many turns as that takes; offers made."""
        job, made = await self._town.job(*wave.CENTRE), 0
        for _ in range(wave.MOST_TURNS):
            asked, more = (await self._town.run(self._town.wave(job, 1))).rest
            made += int(asked)
            if more == b"0":
                break
        return made


def _metres(spot: tuple[float, float]) -> float:
    """How far from the centre."""
    north, east = spot[0] - wave.CENTRE[0], spot[1] - wave.CENTRE[1]
    return wave.METRES_PER_DEGREE * math.hypot(north, east * math.cos(math.radians(wave.CENTRE[0])))


class Step:
    """One rate of claims, with all that goes on beside them."""

    def __init__(
        self,
        rig: Rig,
        crowd: Crowd,
        news: News,
        racers: Sequence[Claimer],
        listeners: Sequence[socket.socket],
        asked: argparse.Namespace,
        servers: tuple[Child, Child],
    ) -> None:
        self._rig = rig
        self._servers = servers
        self._crowd = crowd
        self._news = news
        self._racers = racers
        self._listeners = listeners
        self._waves = asked.waves
        self._offers = 0

    async def measured(self, rate: int, jobs: Sequence[tuple[JobId, int]]) -> tuple[Timed, Heard, Busy]:
        """Claim all the jobs, ``rate`` to the second. Raises BenchError also where the rest did not go on."""
        self._offers = 0
        command = [str(self._rig.compiled(BENCH / "sink.c")), '{"type":"announcement.bench"']
        descriptors = [sock.fileno() for sock in self._listeners]
        sink = self._rig.spawn("sink", command + [str(fd) for fd in descriptors], core=LOAD_CORE, pass_fds=descriptors)
        async with _every(1 / self._waves, self._wave), _every(1.0, self._announce):
            await asyncio.sleep(LEAD_S)
            before = self._spent()
            timed = await Timetable(self._racers, jobs, rate).keep()
            spent = [after - first for first, after in zip(before, self._spent(), strict=True)]
        await asyncio.sleep(LEAD_S)
        sink.process.terminate()
        heard = msgspec.convert(await asyncio.to_thread(sink.first_line), Heard)
        sink.stop()
        if not heard.heard or not self._offers:
            raise BenchError(f"{heard.heard} announcements were heard and {self._offers} offers made beside the claims")
        busy = Busy(*(100 * one / spent[0] for one in spent[1:]))
        return timed, heard, busy

    def _spent(self) -> list[float]:
        """Seconds so far: by the clock, and of processor time of gateway, Redis and this process."""
        return [time.perf_counter(), *(server.cpu_s() for server in self._servers), time.process_time()]

    async def _wave(self) -> None:
        self._offers += await self._crowd.search()

    async def _announce(self) -> None:
        await self._news.tell("role:technician")


@contextlib.asynccontextmanager
async def _every(period_s: float, act: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Begin ``act`` once a period for as long as the block runs, whether or not the one before is done."""
    over = asyncio.Event()

    async def keep() -> None:
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as begun:
            for number in itertools.count(1):
                begun.create_task(_whole(act))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(began + number * period_s):
                        await over.wait()
                        return

    keeper = asyncio.create_task(keep())
    try:
        yield
    finally:
        over.set()
        await keeper


async def _whole(act: Callable[[], Awaitable[None]]) -> None:
    await act()


def _figures(report: Report, found: dict[int, list[tuple[Timed, Heard, Busy]]]) -> None:
    for rate, rounds in found.items():
        goal = GOAL_MS if rate == GOAL_AT else None
        for name, times in (
            ("claim", [timed.claims for timed, _, _ in rounds]),
            ("event", [timed.events for timed, _, _ in rounds]),
        ):
            for share in (0.5, 0.95, 0.99):
                values = [percentile(one, share) for one in times]
                whole = goal if share == 0.99 else None
                unit = f"ms p{share * 100:.0f}"
                report.add(Figure(f"{rate}/s: {name}", unit, values, goal=whole, better="less"))
        heard = [one for _, one, _ in rounds]
        report.add(Figure(f"{rate}/s: announcement", "ms p50", [one.p50_ms for one in heard]))
        report.add(Figure(f"{rate}/s: announcement", "ms p99", [one.p99_ms for one in heard], goal=goal, better="less"))
        for name in Busy._fields:
            report.add(Figure(f"{rate}/s: {name} busy", "% core", [getattr(busy, name) for _, _, busy in rounds]))
