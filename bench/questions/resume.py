"""A gateway is killed: how long until its 10,000 clients have resumed, and does anybody lose an event?

A real ``callout serve --role gateway`` gets SIGKILL while events are written, and another one is started on the same
port. Every client reconnects with its cursor after a random pause of at most ``--span`` seconds, and after another such
pause if it is refused. A client has resumed when it has received every event that it missed. The time of one resume is
measured from the opening of its TCP connection until then. At the end each client must have received every event of its
user once.
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

from bench.load.log_writer import LogWriter
from bench.load.resuming_clients import ResumingUser
from bench.load.seed import gather_in_batches, open_seeded_zone
from bench.load.swarm import CONCURRENT_OPENINGS
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, BenchError, Child, Rig, pin_to_core, print_progress
from engine.process.signer import Signer, sign_token
from engine.types import UserId

USERS_PER_EVENT = 20
"""The number of users to whom one event is addressed."""
WRITE_PAUSE_S = 0.01
STEADY_WRITING_S = 2.0
"""The time for which events are written before the gateway is killed, and again after all clients have resumed."""
TIMEOUT_S = 180.0
_PING_SETTINGS = {"CALLOUT_PING_S": "25", "CALLOUT_PONG_S": "20"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=10_000, help="connected clients (default: 10000)")
    parser.add_argument(
        "--events", type=int, default=100, help=f"events a second, to {USERS_PER_EVENT} users each (100)"
    )
    parser.add_argument("--span", type=float, default=10.0, help="seconds over which they come back (default: 10)")
    parser.set_defaults(rounds=1)


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Kill a gateway in each round, and count the events that each client then received."""
    return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("resume", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.start_redis()
    serve = functools.partial(rig.start_callout, url, roles="gateway", env=_PING_SETTINGS)
    at, child = serve()
    port = urlsplit(at).port or 0
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    print_progress(f"{arguments.clients} clients with an account and a token each")
    users = [UserId(f"user_back{n}") for n in range(arguments.clients)]
    await gather_in_batches(zone.create_account(user, "customer") for user in users)
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    people = [ResumingUser(port, user, sign_token(signer, user, "customer", name=user)) for user in users]
    log_writer = await LogWriter.open(zone)
    test = KillTest(people, log_writer, arguments)
    with pin_to_core(LOAD_CORE):
        print_progress("they connect")
        await test.connect()
        results = []
        for number in range(arguments.rounds):
            print_progress(f"round {number + 1}: events flow; then the gateway is killed")
            results.append(await test.kill_and_resume(child, functools.partial(serve, port=port)))
            child = results[-1].child
    await log_writer.close()
    await zone.close()
    _add_figures(report, results)
    report.notes.append(
        f"{arguments.clients} clients; {arguments.events} events a second to {USERS_PER_EVENT} users each,"
        " all the while"
    )
    report.notes.append(f"each comes back after 0 to {arguments.span:g} s, again so where refused; no accept limit")
    return report


class RoundResult(msgspec.Struct):
    """The result of one round, times in seconds: ``down_s`` until the next gateway serves, ``all_resumed_s`` until the
    last client has resumed, ``resumes_s`` for each resume.
    """

    child: Child
    down_s: float
    all_resumed_s: float
    resumes_s: list[float]
    cpu_s: float
    refused: int
    replayed: int
    unrecovered: int
    received: int = 0
    lost: int = 0
    repeated: int = 0


class KillTest:
    """The clients, and the events that were written for each. ``kill_and_resume`` runs one round and may be
    repeated.
    """

    def __init__(self, people: Sequence[ResumingUser], log_writer: LogWriter, arguments: argparse.Namespace) -> None:
        self._people = people
        self._log_writer = log_writer
        self._arguments = arguments
        self._written: list[list[int]] = [[] for _ in people]
        """For each client, the sequence numbers of the events that it should receive."""
        self._next = 0

    async def connect(self) -> None:
        """Connect all clients."""
        todo = iter(self._people)

        async def connect_next() -> None:
            for person in todo:
                await person.connect()

        await asyncio.gather(*(connect_next() for _ in range(CONCURRENT_OPENINGS)))

    async def kill_and_resume(self, child: Child, serve: Callable[[], tuple[str, Child]]) -> RoundResult:
        """Kill ``child`` while events are written, start the next gateway with ``serve``, and wait until all clients
        have resumed.
        """
        people, random_source = self._people, random.Random(1)
        before = [(p.refused, p.replayed, p.unrecovered) for p in people]
        gc.collect()
        gc.freeze()
        async with self._writing_events():
            await asyncio.sleep(STEADY_WRITING_S)
            tasks = [asyncio.create_task(person.resume(self._arguments.span, random_source)) for person in people]
            await asyncio.sleep(0)
            child.process.kill()
            killed_at = time.perf_counter()
            _, new = await asyncio.to_thread(serve)
            served, cpu = time.perf_counter(), new.cpu_s()
            resumes = await _wait_for_resumes(tasks)
            cpu = new.cpu_s() - cpu
            await asyncio.sleep(STEADY_WRITING_S)
        await self._wait_until_quiet()
        after = [(p.refused, p.replayed, p.unrecovered) for p in people]
        sums = [sum(b[n] - a[n] for a, b in zip(before, after, strict=True)) for n in range(3)]
        result = RoundResult(
            new, served - killed_at, max(at for at, _ in resumes) - killed_at, [s for _, s in resumes], cpu, *sums
        )
        self._count_losses(result)
        return result

    @contextlib.asynccontextmanager
    async def _writing_events(self) -> AsyncIterator[None]:
        """Write events while the block runs. All of them are in the log when the block ends."""
        over = asyncio.Event()
        writing = asyncio.create_task(self._write_events(over))
        try:
            yield
        finally:
            over.set()
            await writing

    async def _write_events(self, stop: asyncio.Event) -> None:
        began, written = time.perf_counter(), 0
        while not stop.is_set():
            due = int((time.perf_counter() - began) * self._arguments.events)
            if due > written:
                await self._append_events(due - written)
                written = due
            await asyncio.sleep(WRITE_PAUSE_S)

    async def _append_events(self, events: int) -> None:
        """Append ``events`` events to the log, each addressed to the next ``USERS_PER_EVENT`` clients."""
        count = len(self._people)
        turns = [
            {(self._next + event * USERS_PER_EVENT + n) % count for n in range(USERS_PER_EVENT)}
            for event in range(events)
        ]
        self._next = (self._next + events * USERS_PER_EVENT) % count
        seqs = await self._log_writer.append(
            *(" ".join(f"user:{self._people[n].user}" for n in turn) for turn in turns)
        )
        for turn, seq in zip(turns, seqs, strict=True):
            for n in turn:
                self._written[n].append(seq)

    async def _wait_until_quiet(self) -> None:
        """Wait until no client has received an event for a second."""
        received = -1
        while received != (now := sum(len(person.seqs) for person in self._people)):
            received = now
            await asyncio.sleep(1.0)

    def _count_losses(self, result: RoundResult) -> None:
        """Count the events that were lost or received twice since the last call. Raise BenchError if the order is
        wrong.
        """
        for person, written in zip(self._people, self._written, strict=True):
            received = person.seqs
            result.received += len(received)
            result.lost += len(set(written) - set(received))
            result.repeated += len(received) - len(set(received))
            if received != sorted(received):
                raise BenchError(f"{person.user} received events in another order")
            person.seqs = []
            written.clear()


async def _wait_for_resumes(tasks: Sequence[asyncio.Task[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the results of all tasks. Raise BenchError after ``TIMEOUT_S``."""
    done, waiting = await asyncio.wait(tasks, timeout=TIMEOUT_S)
    for task in waiting:
        task.cancel()
    if waiting:
        raise BenchError(f"{len(done)} of {len(tasks)} came back within {TIMEOUT_S:g} s")
    return [task.result() for task in tasks]


def _add_figures(report: Report, results: Sequence[RoundResult]) -> None:
    def resume_ms(share: float) -> list[float]:
        return [sorted(r.resumes_s)[min(len(r.resumes_s) - 1, int(len(r.resumes_s) * share))] * 1000 for r in results]

    unrecovered = [float(r.unrecovered) for r in results]
    report.add(
        Figure("events lost", "events", [float(r.lost) for r in results], goal=0, better="less"),
        Figure("events received twice", "events", [float(r.repeated) for r in results], goal=0, better="less"),
        Figure("clients that received recovered:false", "clients", unrecovered, goal=0, better="less"),
        Figure("events received in all", "events", [float(r.received) for r in results]),
        Figure("of these, replayed", "events", [float(r.replayed) for r in results]),
        Figure("from the kill until the next one serves", "s", [r.down_s for r in results]),
        Figure("from the kill until all are whole", "s", [r.all_resumed_s for r in results]),
        Figure("one resume, median", "ms p50", resume_ms(0.5)),
        Figure("one resume, slowest", "ms p99", resume_ms(0.99)),
        Figure("gateway CPU", "µs a resume", [r.cpu_s / len(r.resumes_s) * 1e6 for r in results]),
        Figure(
            "tries refused or given up", "tries", [float(r.refused) for r in results], note="most before it listened"
        ),
    )
