"""Two gateways restart one after the other under load: does anybody lose an event, receive one twice, or lose a job?

Each gateway gets SIGTERM while technicians compete for jobs over both, and is started again on its port. The clients
are ``callout_client``, and ops who receive every job, half at each gateway. They come back by themselves, with full
jitter. At the end, what each client received is compared with the log, and the holder of each job with the technician
whose claim was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import uvloop

from bench.load.swarm import AT_ONCE
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, SERVER_CORE, BenchError, Child, Rig, pinned, say
from callout_client import Api, Callout, On, Refusal, Status
from callout_client.listeners import Frame
from engine.process.signer import Signer, sign_token
from engine.store.connection import create_client
from engine.types import DEFAULT_ZONE, UserId
from engine.zone import log
from server.simulation import seed
from server.simulation.account import Account, Operator, sign_in

HERE = {"lat": 52.52, "lon": 13.405}
OURS = frozenset({"role:ops", "role:admin", "role:managers", "user:cli_admin"})
"""The channels of a listener."""
PATIENCE_S = 90.0
_CLI = "from server.cli.main import main; main()"


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--clients", type=int, default=1_000, help="listeners, half at each gateway (default: 1000)")
    parser.add_argument("--technicians", type=int, default=6, help="who race for each job (default: 6)")
    parser.add_argument("--jobs", type=int, default=80, help="jobs in all (default: 80)")
    parser.add_argument("--pace", type=float, default=2.0, help="jobs booked a second (default: 2)")
    parser.set_defaults(rounds=1)


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """One rolling restart of both."""
    return uvloop.run(_run(rig, asked))


@dataclass
class Gateway:
    """One of the two, over its restarts; ``api`` is shared by all who are at it."""

    rig: Rig
    name: str
    redis: str
    url: str
    child: Child
    api: Api

    async def restart(self) -> float:
        """End it in order, and start it again on its port; gives for how many seconds nobody served."""
        began = time.monotonic()
        await asyncio.to_thread(self.child.stop)
        if self.child.process.returncode != 0:
            raise BenchError(f"{self.name} ended with {self.child.process.returncode}: {self.child.complaint()}")
        port = urlsplit(self.url).port or 0
        self.url, self.child = await asyncio.to_thread(serve, self.rig, self.name, self.redis, "gateway", port)
        return time.monotonic() - began


def serve(rig: Rig, name: str, url: str, roles: str, port: int = 0) -> tuple[str, Child]:
    """``callout serve`` with a data directory of its own; SQL and key are shared."""
    command = [sys.executable, "-c", _CLI, "serve", "--redis", url, "--port", str(port), "--role", roles]
    command += ["--database", f"sqlite:///{rig.folder}/callout.db", "--key-file", str(rig.folder / "key")]
    command += ["--data", str(rig.folder / name)]
    settings = {"CALLOUT_LIMITS": "off", "CALLOUT_LOG_LEVEL": "warning"}
    child = rig.spawn(name, command, core=SERVER_CORE, env=settings)
    return str(child.first_line()["serving"]), child


@dataclass
class Listener:
    """What one client was told, and for how long it was away."""

    seen: list[int] = field(default_factory=list)
    repeats: int = 0
    joins: int = 0
    unrecovered: int = 0
    begun: int = 0
    away_s: list[float] = field(default_factory=list)
    _left: float = 0.0

    def heard(self, push: Frame) -> None:
        if "seq" in push:
            self.seen.append(push["seq"])

    def joined(self, ok: Frame) -> None:
        zone = ok["zones"][DEFAULT_ZONE]
        if not self.joins:
            self.begun = zone["seq"]
        elif not zone["recovered"]:
            self.unrecovered += 1
        self.joins += 1

    def repeated(self, push: Frame) -> None:
        self.repeats += 1

    def told(self, status: Status) -> None:
        if status.status == "connected" and self._left:
            self.away_s.append(time.monotonic() - self._left)
            self._left = 0.0
        elif status.status == "reconnecting" and self.joins:
            self._left = self._left or time.monotonic()

    def listening(self) -> On:
        """Its listeners."""
        return On(self.heard, self.told, joined=self.joined, repeat=self.repeated)


class Racer(Listener):
    """A technician who claims whatever he is offered, at once, and notes what he was told that he has."""

    def __init__(self) -> None:
        super().__init__()
        self.id = ""
        self.client: Callout
        self.won: set[str] = set()
        self._claims: set[asyncio.Task[None]] = set()

    def heard(self, push: Frame) -> None:
        super().heard(push)
        if push["type"] == "offer.created":
            claim = asyncio.create_task(self._claim(push["data"]["offer"]["job"]["id"]))
            self._claims.add(claim)
            claim.add_done_callback(self._claims.discard)

    async def _claim(self, job: str) -> None:
        try:
            await self.client.request("claim", job=job, patience_s=PATIENCE_S)
            self.won.add(job)
        except Refusal:
            return  # another was quicker


class Town:
    """Two gateways, the rest of a server, and everybody."""

    def __init__(self, rig: Rig, asked: argparse.Namespace) -> None:
        self.rig, self.asked = rig, asked
        self.url, _ = rig.redis()
        self.gateways: list[Gateway] = []
        self.listeners = [Listener() for _ in range(asked.clients)]
        self.racers: list[Racer] = []
        self.booked: list[str] = []
        self._operator: Operator
        self._customer: Account
        self._service = ""

    async def open(self, stack: AsyncExitStack) -> None:
        """Start the servers, and bring everybody in."""
        await asyncio.to_thread(serve, self.rig, "back", self.url, "scheduler,archiver,push")
        for name in ("one", "two"):
            at, child = await asyncio.to_thread(serve, self.rig, name, self.url, "gateway")
            api = Api(at)
            stack.push_async_callback(api.close)
            self.gateways.append(Gateway(self.rig, name, self.url, at, child, api))
        key = Signer.load_or_create(self.rig.folder / "key")
        bearer = sign_token(key, UserId("cli_admin"), "admin", expires_s=7200)
        self._operator = Operator(self.gateways[0].api, bearer)
        self._service = await seed.simulation_service(self._operator)
        self._customer = await self._account("customer", 0)
        for number in range(self.asked.technicians):
            await self._racer(stack, number)
        say(f"{self.asked.clients} clients connect")
        todo = iter(range(self.asked.clients))

        async def connect() -> None:
            for number in todo:
                listener, gateway = self.listeners[number], self.gateways[number % 2]
                client = Callout(gateway.url, self._operator.token, listener.listening(), api=gateway.api)
                stack.push_async_callback(client.close)
                await client.open()

        await asyncio.gather(*(connect() for _ in range(AT_ONCE)))

    async def _account(self, role: str, number: int) -> Account:
        return await sign_in(self.gateways[number % 2].api, seed.registration(role, number, "restart", "correct horse"))

    async def _racer(self, stack: AsyncExitStack, number: int) -> None:
        gateway, racer = self.gateways[number % 2], Racer()
        who = seed.registration("technician", number, "restart", "correct horse")
        account = await seed.approved_technician(gateway.api, self._operator, self._service, who)
        await self._operator.request("PATCH", f"/v1/technicians/{account.id}", {"capacity": 1000})
        racer.id, racer.client = account.id, Callout(gateway.url, account.token, racer.listening(), api=gateway.api)
        stack.push_async_callback(racer.client.close)
        await racer.client.open()
        await racer.client.request("availability", online=True, **HERE)
        self.racers.append(racer)

    async def book_all(self) -> None:
        """One job after the other, at the pace asked for, over whichever gateway answers."""
        began = time.monotonic()
        for number in range(self.asked.jobs):
            await asyncio.sleep(max(0.0, began + number / self.asked.pace - time.monotonic()))
            body = {"service": self._service, **HERE, "address": "Torstrasse 1"}
            done = await self._customer.request("POST", "/v1/jobs", body)
            self.booked.append(done["job"]["id"])

    def won(self) -> dict[str, str]:
        """Who was told that he has which job. Raises BenchError where two were."""
        told: dict[str, str] = {}
        for racer in self.racers:
            for job in racer.won:
                if told.setdefault(job, racer.id) != racer.id:
                    raise BenchError(f"{job} was won by {told[job]} and by {racer.id}")
        return told

    async def undone(self) -> int:
        """Jobs whose holder is not the one who was told that he has it."""
        found = 0
        for job, winner in self.won().items():
            holder = (await self._operator.request("GET", f"/v1/jobs/{job}"))["job"]["technician"]
            found += holder is None or holder["id"] != winner
        return found

    async def due(self) -> list[int]:
        """The seqs of all that a listener should have heard, from the log's beginning."""
        client = create_client(self.url)
        entries = await log.read_range(client, DEFAULT_ZONE, 0, 1_000_000)
        await client.aclose()
        return [e.seq for e in entries if OURS & set(e.to) and not e.type.startswith("session.")]


async def until(true: Callable[[], bool], what: str) -> None:
    """Return when it is so. Raises BenchError after ``PATIENCE_S``."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > end:
            raise BenchError(f"{what}: not in {PATIENCE_S:g} s")
        await asyncio.sleep(0.05)


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    report = Report("restart", (__doc__ or "").split("\n", 1)[0])
    with pinned(LOAD_CORE):
        async with AsyncExitStack() as stack:
            town = Town(rig, asked)
            await town.open(stack)
            say("jobs are booked and raced for; the gateways are restarted one after the other")
            booking, down_s = asyncio.create_task(town.book_all()), []
            for number, gateway in enumerate(town.gateways):
                await until(lambda n=number: len(town.won()) > n * asked.jobs // 4, "claims")
                down_s.append(await gateway.restart())
                his = town.listeners[number::2]
                await until(lambda b=his: all(one.joins >= 2 for one in b), f"all back at {gateway.name}")
            await booking
            await until(lambda: len(town.won()) >= asked.jobs, "every job won")
            due = await town.due()
            await until(lambda: all(one.seen and one.seen[-1] >= due[-1] for one in town.listeners), "the last event")
            _figures(report, town, await town.due(), await town.undone(), down_s)
    report.notes.append(f"{asked.clients} clients, {asked.technicians} technicians, {asked.pace:g} jobs a second")
    return report


def _figures(report: Report, town: Town, due: list[int], undone: int, down_s: list[float]) -> None:
    lost = twice = 0
    for one in town.listeners:
        mine = {seq for seq in due if one.begun < seq <= one.seen[-1]}
        lost += len(mine - set(one.seen))
        twice += len(one.seen) - len(set(one.seen))
        if one.seen != sorted(one.seen):
            raise BenchError("a client was given its events in another order")
    away = sorted(seconds for one in town.listeners for seconds in one.away_s)
    people = [*town.listeners, *town.racers]
    report.add(
        Figure("events lost", "events", [float(lost)], goal=0, better="less"),
        Figure("events handed on twice", "events", [float(twice)], goal=0, better="less"),
        Figure("claims acknowledged and undone", "jobs", [float(undone)], goal=0, better="less"),
        Figure("told recovered:false", "clients", [float(sum(p.unrecovered for p in people))], goal=0, better="less"),
        Figure("repeats sent by the server", "events", [float(sum(p.repeats for p in people))], goal=0, better="less"),
        Figure("jobs won", "jobs", [float(len(town.won()))]),
        Figure("events heard in all", "events", [float(sum(len(one.seen) for one in town.listeners))]),
        Figure("from SIGTERM until the next serves", "s", down_s),
        Figure("a client away", "s p50", [away[len(away) // 2]]),
        Figure("a client away", "s max", [away[-1]]),
    )
