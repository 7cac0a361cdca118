"""A gateway is killed: how long until its 10,000 clients have resumed, and does anybody lose an event?

A real ``callout serve --role gateway`` gets SIGKILL while events are written, and another one is started on the same
port. Every client comes back with its cursor, after a random pause within a given span, and after another such pause if
it is refused. A client has resumed when it has received everything that it missed. The time of one resume counts from
the opening of its TCP connection until then. At the end each client must have received every event of its user once.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.load.news import News
from bench.load.returning import Person
from bench.load.seed import in_batches, open_town
from bench.load.swarm import AT_ONCE
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, BenchError, Child, Rig, pinned, say
from engine.process.signer import Signer, sign_token
from engine.types import UserId

EACH = 20
"""Users to whom one event is addressed."""
TICK_S = 0.01
STEADY_S = 2.0
"""Events flow for so long before the gateway is killed, and after all are whole."""
PATIENCE_S = 180.0
_PINGS = {"CALLOUT_PING_S": "25", "CALLOUT_PONG_S": "20"}


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--clients", type=int, default=10_000, help="connected clients (default: 10000)")
    parser.add_argument("--events", type=int, default=100, help=f"events a second, to {EACH} users each (100)")
    parser.add_argument("--span", type=float, default=10.0, help="seconds over which they come back (default: 10)")
    parser.set_defaults(rounds=1)


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Kill a gateway in each round, and look at who comes back with what."""
    return uvloop.run(_run(rig, asked))


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report = Report("resume", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.redis()
    serve = functools.partial(rig.callout, url, roles="gateway", env=_PINGS)
    at, child = serve()
    port = urlsplit(at).port or 0
    town = await open_town(url)
    report.versions["valkey"] = str((await town.store.redis.info("server"))["valkey_version"])
    say(f"{asked.clients} clients with an account and a token each")
    users = [UserId(f"user_back{n}") for n in range(asked.clients)]
    await in_batches(town.account(user, "customer") for user in users)
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    people = [Person(port, user, sign_token(signer, user, "customer", name=user)) for user in users]
    news = await News.loaded(town)
    round_ = Round(people, news, asked)
    with pinned(LOAD_CORE):
        say("they connect")
        await round_.connect()
        found = []
        for number in range(asked.rounds):
            say(f"round {number + 1}: events flow; then the gateway is killed")
            found.append(await round_.killed(child, functools.partial(serve, port=port)))
            child = found[-1].child
    await news.close()
    await town.close()
    _figures(report, found)
    report.notes.append(f"{asked.clients} clients; {asked.events} events a second to {EACH} users each, all the while")
    report.notes.append(f"each comes back after 0 to {asked.span:g} s, again so where refused; no accept limit")
    return report


class Found(msgspec.Struct):
    """One round; times in seconds. ``down_s`` until the next gateway serves, ``whole_s`` until the last is whole."""

    child: Child
    down_s: float
    whole_s: float
    took_s: list[float]
    cpu_s: float
    refused: int
    replayed: int
    unrecovered: int
    heard: int = 0
    lost: int = 0
    twice: int = 0


class Round:
    """People and what was written for each; ``killed`` may be asked for again and again."""

    def __init__(self, people: Sequence[Person], news: News, asked: argparse.Namespace) -> None:
        self._people = people
        self._news = news
        self._asked = asked
        self._written: list[list[int]] = [[] for _ in people]
        """By person, the seqs of the events that are his."""
        self._next = 0

    async def connect(self) -> None:
        """All enter."""
        todo = iter(self._people)

        async def work() -> None:
            for person in todo:
                await person.connect()

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def killed(self, child: Child, serve: Callable[[], tuple[str, Child]]) -> Found:
        """Kill ``child`` while events flow, ``serve`` again, and see everybody through."""
        people, chance = self._people, random.Random(1)
        before = [(p.refused, p.replayed, p.unrecovered) for p in people]
        gc.collect()
        gc.freeze()
        async with self._events():
            await asyncio.sleep(STEADY_S)
            back = [asyncio.create_task(person.come_back(self._asked.span, chance)) for person in people]
            await asyncio.sleep(0)
            child.process.kill()
            killed = time.perf_counter()
            _, new = await asyncio.to_thread(serve)
            served, cpu = time.perf_counter(), new.cpu_s()
            took = await _all_back(back)
            cpu = new.cpu_s() - cpu
            await asyncio.sleep(STEADY_S)
        await self._quiet()
        after = [(p.refused, p.replayed, p.unrecovered) for p in people]
        sums = [sum(b[n] - a[n] for a, b in zip(before, after, strict=True)) for n in range(3)]
        found = Found(new, served - killed, max(at for at, _ in took) - killed, [s for _, s in took], cpu, *sums)
        self._compare(found)
        return found

    @contextlib.asynccontextmanager
    async def _events(self) -> AsyncIterator[None]:
        """Events are written for as long as the block runs, all of them acknowledged when it is left."""
        over = asyncio.Event()
        writing = asyncio.create_task(self._write(over))
        try:
            yield
        finally:
            over.set()
            await writing

    async def _write(self, over: asyncio.Event) -> None:
        began, written = time.perf_counter(), 0
        while not over.is_set():
            due = int((time.perf_counter() - began) * self._asked.events)
            if due > written:
                await self._tell(due - written)
                written = due
            await asyncio.sleep(TICK_S)

    async def _tell(self, events: int) -> None:
        """So many events, each to the ``EACH`` people whose turn it is."""
        count = len(self._people)
        turns = [{(self._next + event * EACH + n) % count for n in range(EACH)} for event in range(events)]
        self._next = (self._next + events * EACH) % count
        seqs = await self._news.tell(*(" ".join(f"user:{self._people[n].user}" for n in turn) for turn in turns))
        for turn, seq in zip(turns, seqs, strict=True):
            for n in turn:
                self._written[n].append(seq)

    async def _quiet(self) -> None:
        """Return when nothing has come to anybody for a second."""
        heard = -1
        while heard != (now := sum(len(person.seqs) for person in self._people)):
            heard = now
            await asyncio.sleep(1.0)

    def _compare(self, found: Found) -> None:
        """Count what was lost and what came twice, or out of order, since the last time."""
        for person, written in zip(self._people, self._written, strict=True):
            heard = person.seqs
            found.heard += len(heard)
            found.lost += len(set(written) - set(heard))
            found.twice += len(heard) - len(set(heard))
            if heard != sorted(heard):
                raise BenchError(f"{person.user} heard his events in another order")
            person.seqs = []
            written.clear()


async def _all_back(back: Sequence[asyncio.Task[tuple[float, float]]]) -> list[tuple[float, float]]:
    """What each gave. Raises BenchError when that takes too long."""
    done, waiting = await asyncio.wait(back, timeout=PATIENCE_S)
    for task in waiting:
        task.cancel()
    if waiting:
        raise BenchError(f"{len(done)} of {len(back)} came back within {PATIENCE_S:g} s")
    return [task.result() for task in back]


def _figures(report: Report, found: Sequence[Found]) -> None:
    def took(share: float) -> list[float]:
        return [sorted(f.took_s)[min(len(f.took_s) - 1, int(len(f.took_s) * share))] * 1000 for f in found]

    report.add(
        Figure("events lost", "events", [float(f.lost) for f in found], goal=0, better="less"),
        Figure("events heard twice", "events", [float(f.twice) for f in found], goal=0, better="less"),
        Figure("told recovered:false", "clients", [float(f.unrecovered) for f in found], goal=0, better="less"),
        Figure("events heard in all", "events", [float(f.heard) for f in found]),
        Figure("of these, replayed", "events", [float(f.replayed) for f in found]),
        Figure("from the kill until the next one serves", "s", [f.down_s for f in found]),
        Figure("from the kill until all are whole", "s", [f.whole_s for f in found]),
        Figure("one resume, median", "ms p50", took(0.5)),
        Figure("one resume, slowest", "ms p99", took(0.99)),
        Figure("gateway CPU", "µs a resume", [f.cpu_s / len(f.took_s) * 1e6 for f in found]),
        Figure("tries refused or given up", "tries", [float(f.refused) for f in found], note="most before it listened"),
    )
