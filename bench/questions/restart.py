"""Two gateways restart one after the other under load: does anybody lose an event, receive one twice, or lose a
job?

Technicians compete for jobs over both gateways. Meanwhile each gateway gets SIGTERM and is started again on its port.
The clients are ``callout_client``, signed in as an admin, who receives the events of every job. Half of the clients use
each gateway. They reconnect by themselves, with full jitter. At the end, the events of each client are compared with
the log, and the holder of each job with the technician whose claim was acknowledged.
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

from bench.load.swarm import CONCURRENT_OPENINGS
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, SERVER_CORE, BenchError, Child, Rig, pin_to_core, print_progress
from callout_client import Api, Callout, Listeners, Refusal, Status
from callout_client.listeners import Frame
from engine.process.signer import Signer, sign_token
from engine.store.redis_url import create_client
from engine.types import DEFAULT_ZONE, UserId
from engine.zone import log
from server.simulation import seed
from server.simulation.account import Account, Operator, sign_in

POSITION = {"lat": 52.52, "lon": 13.405}
LISTENER_CHANNELS = frozenset({"role:ops", "role:admin", "role:managers", "user:cli_admin"})
"""The channels whose events a listener receives."""
TIMEOUT_S = 90.0
_CLI_PROGRAM = "from server.cli.main import main; main()"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--clients", type=int, default=1_000, help="listeners, half at each gateway (default: 1000)")
    parser.add_argument("--technicians", type=int, default=6, help="who race for each job (default: 6)")
    parser.add_argument("--jobs", type=int, default=80, help="jobs in all (default: 80)")
    parser.add_argument("--pace", type=float, default=2.0, help="jobs booked a second (default: 2)")
    parser.set_defaults(rounds=1)


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Restart both gateways once, one after the other."""
    return uvloop.run(_run(rig, arguments))


@dataclass
class Gateway:
    """One of the two gateways, before and after its restarts. All its clients share ``api``."""

    rig: Rig
    name: str
    redis: str
    url: str
    child: Child
    api: Api

    async def restart(self) -> float:
        """Stop the gateway with SIGTERM and start it on the same port. Return the seconds without a running gateway."""
        began = time.monotonic()
        await asyncio.to_thread(self.child.stop)
        if self.child.process.returncode != 0:
            raise BenchError(f"{self.name} ended with {self.child.process.returncode}: {self.child.error_log()}")
        port = urlsplit(self.url).port or 0
        self.url, self.child = await asyncio.to_thread(start_server, self.rig, self.name, self.redis, "gateway", port)
        return time.monotonic() - began


def start_server(rig: Rig, name: str, url: str, roles: str, port: int = 0) -> tuple[str, Child]:
    """Start ``callout serve`` with its own data directory; SQL database and key file are shared."""
    command = [sys.executable, "-c", _CLI_PROGRAM, "serve", "--redis", url, "--port", str(port), "--role", roles]
    command += ["--database", f"sqlite:///{rig.folder}/callout.db", "--key-file", str(rig.folder / "key")]
    command += ["--data", str(rig.folder / name)]
    settings = {"CALLOUT_LIMITS": "off", "CALLOUT_LOG_LEVEL": "warning", "CALLOUT_FILES": str(rig.folder / "files")}
    child = rig.spawn(name, command, core=SERVER_CORE, env=settings)
    return str(child.read_first_line()["serving"]), child


@dataclass
class Listener:
    """The record of what one client received. ``away_s`` are the seconds of each time without a connection."""

    seqs: list[int] = field(default_factory=list)
    repeats: int = 0
    connects: int = 0
    unrecovered: int = 0
    first_seq: int = 0
    away_s: list[float] = field(default_factory=list)
    _disconnected_at: float = 0.0

    def on_push(self, push: Frame) -> None:
        if "seq" in push:
            self.seqs.append(push["seq"])

    def on_connect(self, ok: Frame) -> None:
        zone = ok["zones"][DEFAULT_ZONE]
        if not self.connects:
            self.first_seq = zone["seq"]
        elif not zone["recovered"]:
            self.unrecovered += 1
        self.connects += 1

    def on_repeat(self, push: Frame) -> None:
        self.repeats += 1

    def on_status(self, status: Status) -> None:
        if status.status == "connected" and self._disconnected_at:
            self.away_s.append(time.monotonic() - self._disconnected_at)
            self._disconnected_at = 0.0
        elif status.status == "reconnecting" and self.connects:
            self._disconnected_at = self._disconnected_at or time.monotonic()

    def callbacks(self) -> Listeners:
        """Return the callbacks of this client for ``callout_client``."""
        return Listeners(self.on_push, self.on_status, joined=self.on_connect, repeat=self.on_repeat)


class Racer(Listener):
    """A technician who claims each offered job at once and records the acknowledged claims."""

    def __init__(self) -> None:
        super().__init__()
        self.id = ""
        self.client: Callout
        self.acknowledged: set[str] = set()
        self._claims: set[asyncio.Task[None]] = set()

    def on_push(self, push: Frame) -> None:
        super().on_push(push)
        if push["type"] == "offer.created":
            claim = asyncio.create_task(self._claim_job(push["data"]["offer"]["job"]["id"]))
            self._claims.add(claim)
            claim.add_done_callback(self._claims.discard)

    async def _claim_job(self, job: str) -> None:
        try:
            await self.client.request("claim", job=job, patience_s=TIMEOUT_S)
            self.acknowledged.add(job)
        except Refusal:
            return  # another technician has the job


class Scenario:
    """The processes of the benchmark and their clients: two gateways, and a server with the other roles."""

    def __init__(self, rig: Rig, arguments: argparse.Namespace) -> None:
        self.rig, self.arguments = rig, arguments
        self.url, _ = rig.start_redis()
        self.gateways: list[Gateway] = []
        self.listeners = [Listener() for _ in range(arguments.clients)]
        self.racers: list[Racer] = []
        self.booked: list[str] = []
        self._operator: Operator
        self._customer: Account
        self._service = ""

    async def open(self, stack: AsyncExitStack) -> None:
        """Start the servers and connect all clients."""
        await asyncio.to_thread(start_server, self.rig, "back", self.url, "scheduler,archiver,push")
        for name in ("one", "two"):
            at, child = await asyncio.to_thread(start_server, self.rig, name, self.url, "gateway")
            api = Api(at)
            stack.push_async_callback(api.close)
            self.gateways.append(Gateway(self.rig, name, self.url, at, child, api))
        key = Signer.load_or_create(self.rig.folder / "key")
        bearer = sign_token(key, UserId("cli_admin"), "admin", expires_s=7200)
        self._operator = Operator(self.gateways[0].api, bearer)
        self._service = await seed.simulation_service(self._operator)
        self._customer = await self._create_account("customer", 0)
        for number in range(self.arguments.technicians):
            await self._connect_racer(stack, number)
        print_progress(f"{self.arguments.clients} clients connect")
        todo = iter(range(self.arguments.clients))

        async def connect() -> None:
            for number in todo:
                listener, gateway = self.listeners[number], self.gateways[number % 2]
                client = Callout(gateway.url, self._operator.token, listener.callbacks(), api=gateway.api)
                stack.push_async_callback(client.close)
                await client.open()

        await asyncio.gather(*(connect() for _ in range(CONCURRENT_OPENINGS)))

    async def _create_account(self, role: str, number: int) -> Account:
        return await sign_in(self.gateways[number % 2].api, seed.registration(role, number, "restart", "correct horse"))

    async def _connect_racer(self, stack: AsyncExitStack, number: int) -> None:
        gateway, racer = self.gateways[number % 2], Racer()
        who = seed.registration("technician", number, "restart", "correct horse")
        account = await seed.approved_technician(gateway.api, self._operator, [self._service], who)
        await self._operator.request("PATCH", f"/v1/technicians/{account.id}", {"capacity": 1000})
        racer.id, racer.client = account.id, Callout(gateway.url, account.token, racer.callbacks(), api=gateway.api)
        stack.push_async_callback(racer.client.close)
        await racer.client.open()
        await racer.client.request("availability", online=True, **POSITION)
        self.racers.append(racer)

    async def book_jobs(self) -> None:
        """Book one job after the other, at the rate of ``--pace``, over a gateway that replies."""
        began = time.monotonic()
        for number in range(self.arguments.jobs):
            await asyncio.sleep(max(0.0, began + number / self.arguments.pace - time.monotonic()))
            body = {"service": self._service, **POSITION, "address": "Torstrasse 1"}
            reply = await self._customer.request("POST", "/v1/jobs", body)
            self.booked.append(reply["job"]["id"])

    def acknowledged_claims(self) -> dict[str, str]:
        """Return by job the technician whose claim was acknowledged. Raise BenchError if two were."""
        winners: dict[str, str] = {}
        for racer in self.racers:
            for job in racer.acknowledged:
                if winners.setdefault(job, racer.id) != racer.id:
                    raise BenchError(f"{job} was won by {winners[job]} and by {racer.id}")
        return winners

    async def count_lost_claims(self) -> int:
        """Return the number of jobs whose holder is not the technician with the acknowledged claim."""
        lost = 0
        for job, winner in self.acknowledged_claims().items():
            holder = (await self._operator.request("GET", f"/v1/jobs/{job}"))["job"]["technician"]
            lost += holder is None or holder["id"] != winner
        return lost

    async def expected_seqs(self) -> list[int]:
        """Return the sequence numbers of all events that a listener should have received, from the beginning of
        the log.
        """
        client = create_client(self.url)
        entries = await log.read_range(client, DEFAULT_ZONE, 0, 1_000_000)
        await client.aclose()
        return [e.seq for e in entries if LISTENER_CHANNELS & set(e.to) and not e.type.startswith("session.")]


async def wait_until(condition: Callable[[], bool], description: str) -> None:
    """Wait until the condition is true. Raise BenchError after ``TIMEOUT_S``."""
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise BenchError(f"{description}: not in {TIMEOUT_S:g} s")
        await asyncio.sleep(0.05)


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("restart", (__doc__ or "").split("\n", 1)[0])
    with pin_to_core(LOAD_CORE):
        async with AsyncExitStack() as stack:
            scenario = Scenario(rig, arguments)
            await scenario.open(stack)
            print_progress("jobs are booked and raced for; the gateways are restarted one after the other")
            booking, down_s = asyncio.create_task(scenario.book_jobs()), []
            for number, gateway in enumerate(scenario.gateways):
                await wait_until(
                    lambda n=number: len(scenario.acknowledged_claims()) > n * arguments.jobs // 4, "claims"
                )
                down_s.append(await gateway.restart())
                listeners = scenario.listeners[number::2]
                await wait_until(lambda b=listeners: all(one.connects >= 2 for one in b), f"all back at {gateway.name}")
            await booking
            await wait_until(lambda: len(scenario.acknowledged_claims()) >= arguments.jobs, "every job won")
            expected = await scenario.expected_seqs()
            await wait_until(
                lambda: all(one.seqs and one.seqs[-1] >= expected[-1] for one in scenario.listeners), "the last event"
            )
            _add_figures(report, scenario, await scenario.expected_seqs(), await scenario.count_lost_claims(), down_s)
    report.notes.append(
        f"{arguments.clients} clients, {arguments.technicians} technicians, {arguments.pace:g} jobs a second"
    )
    return report


def _add_figures(
    report: Report, scenario: Scenario, expected: list[int], lost_claims: int, down_s: list[float]
) -> None:
    lost = repeated = 0
    for listener in scenario.listeners:
        due_seqs = {seq for seq in expected if listener.first_seq < seq <= listener.seqs[-1]}
        lost += len(due_seqs - set(listener.seqs))
        repeated += len(listener.seqs) - len(set(listener.seqs))
        if listener.seqs != sorted(listener.seqs):
            raise BenchError("a client was given its events in another order")
    away = sorted(seconds for listener in scenario.listeners for seconds in listener.away_s)
    people = [*scenario.listeners, *scenario.racers]
    report.add(
        Figure("events lost", "events", [float(lost)], goal=0, better="less"),
        Figure("events delivered twice", "events", [float(repeated)], goal=0, better="less"),
        Figure("claims acknowledged and undone", "jobs", [float(lost_claims)], goal=0, better="less"),
        Figure(
            "clients that received recovered:false",
            "clients",
            [float(sum(p.unrecovered for p in people))],
            goal=0,
            better="less",
        ),
        Figure("repeats sent by the server", "events", [float(sum(p.repeats for p in people))], goal=0, better="less"),
        Figure("jobs won", "jobs", [float(len(scenario.acknowledged_claims()))]),
        Figure("events received in all", "events", [float(sum(len(listener.seqs) for listener in scenario.listeners))]),
        Figure("from SIGTERM until the next serves", "s", down_s),
        Figure("a client away", "s p50", [away[len(away) // 2]]),
        Figure("a client away", "s max", [away[-1]]),
    )
