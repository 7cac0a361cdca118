"""How many log entries a second does a gateway read and route, with eleven channels each, while claims run?

The entries are written to the log in one turn of Redis: from then on all of them are available, and the gateway reads
at its own speed. They are addressed to users who are not connected, while thousands of connected sessions receive none
of them. After the last entry comes an event for one listener; the clock stops when it arrives at the listener's socket.
Meanwhile claims are sent at fixed times.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.load import openloop, swarm
from bench.load.news import CHANNELS, News
from bench.load.openloop import Claimer, Timetable, percentile
from bench.load.seed import Town, in_batches, open_town
from bench.load.swarm import Client, Opening
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, Child, Rig, pinned, say
from engine.process.signer import Signer, sign_token
from engine.types import UserId

SQUADS = 32
LISTENER = UserId("user_observer")
PATIENCE_S = 60.0


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--entries", type=int, default=100_000, help="entries in a round (default: 100000)")
    parser.add_argument("--sockets", type=int, default=3_000, help="connected and not concerned (default: 3000)")
    parser.add_argument("--claims", type=int, default=500, help="claims a second meanwhile (default: 500)")


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Measure, round by round: with claims, and without."""
    with pinned(LOAD_CORE):
        return uvloop.run(_run(rig, asked))


class Listener(Client):
    """Who is told last."""

    def __init__(self, opening: Opening) -> None:
        super().__init__(opening)
        self.told = asyncio.Event()

    def heard(self, data: bytes, start: int, end: int) -> None:
        """The event after the last entry, or a head."""
        if data.startswith(b'{"type"', start):
            self.told.set()


class Tailed(msgspec.Struct):
    """One pile: how long it took, what it cost gateway and Redis, and how the claims did meanwhile."""

    entries: int
    elapsed_s: float
    gateway_s: float
    redis_s: float
    claims: list[float] = msgspec.field(default_factory=list)


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report = Report("relay", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.redis()
    at, gateway = rig.callout(url, roles="gateway")
    port = urlsplit(at).port or 0
    town = await open_town(url)
    report.versions["valkey"] = str((await town.store.redis.info("server"))["valkey_version"])
    say(f"{asked.sockets} sessions that are not concerned")
    users = [UserId(f"user_r{n}") for n in range(asked.sockets)]
    await in_batches(town.account(user, "customer") for user in [*users, LISTENER])
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    openings = [swarm.callout_opening(port, sign_token(signer, u, "customer", name=u)) for u in [LISTENER, *users]]
    listener = await swarm.entered(port, Listener(openings[0]))
    await swarm.all_entered(port, openings[1:])
    racers = await openloop.claimers(rig, town, port, SQUADS)
    news = await News.loaded(town)
    pile = Pile(town, news, listener, gateway, valkey)
    found: dict[bool, list[Tailed]] = {True: [], False: []}
    for number in range(asked.rounds):
        for claims, rounds in found.items():
            say(f"round {number + 1}: {asked.entries} entries{' while claims run' if claims else ''}")
            rounds.append(await pile.tailed(asked.entries, racers, asked.claims if claims else 0))
    await news.close()
    await town.close()
    _figures(report, found[True], found[False], asked.claims)
    report.notes.append(
        f"{asked.entries} entries a round, {CHANNELS} channels each; {asked.sockets} sessions connected"
    )
    return report


class Pile:
    """The way from a pile of entries to the listener's socket."""

    def __init__(self, town: Town, news: News, listener: Listener, gateway: Child, valkey: Child) -> None:
        self._town = town
        self._news = news
        self._listener = listener
        self._gateway = gateway
        self._valkey = valkey

    async def tailed(self, entries: int, racers: list[Claimer], rate: int) -> Tailed:
        """Put ``entries`` into the log and time them, with ``rate`` claims a second, or none."""
        jobs = await openloop.offered(self._town, len(racers), rate * 2)
        await self._gateway.settled()
        self._listener.told.clear()
        await self._news.pile(entries)
        began, gateway, redis = time.perf_counter(), self._gateway.cpu_s(), self._valkey.cpu_s()
        claims = asyncio.create_task(Timetable(racers, jobs, rate).keep()) if rate else None
        await self._news.tell(f"user:{LISTENER}")
        async with asyncio.timeout(PATIENCE_S):
            await self._listener.told.wait()
        found = Tailed(
            entries,
            time.perf_counter() - began,
            self._gateway.cpu_s() - gateway,
            self._valkey.cpu_s() - redis,
        )
        if claims:
            found.claims = (await claims).claims
        await self._news.clear()
        return found


def _figures(report: Report, busy: list[Tailed], alone: list[Tailed], claims: int) -> None:
    rate = [t.entries / t.elapsed_s for t in busy]
    report.add(
        Figure(f"tailed and routed, {claims} claims/s meanwhile", "entries/s", rate, goal=150_000),
        Figure("gateway CPU, claims included", "µs an entry", [t.gateway_s / t.entries * 1e6 for t in busy]),
        Figure("claims meanwhile", "ms p50", [percentile(t.claims, 0.5) for t in busy]),
        Figure("claims meanwhile, slowest", "ms p99", [percentile(t.claims, 0.99) for t in busy]),
        Figure("tailed and routed, nothing else", "entries/s", [t.entries / t.elapsed_s for t in alone]),
        Figure("gateway CPU", "µs an entry", [t.gateway_s / t.entries * 1e6 for t in alone]),
        Figure("Redis CPU", "µs an entry", [t.redis_s / t.entries * 1e6 for t in alone]),
    )
