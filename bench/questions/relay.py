"""How many log entries a second does a gateway read and route, with eleven channels each, while claims run?

The entries are written to the log by one script call: from then on all of them are available, and the gateway reads
at its own speed. They are addressed to users who are not connected, while thousands of connected sessions receive none
of them. The last event is addressed to one listener; the clock stops when the listener's socket receives it. Meanwhile
claims are sent at fixed times.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from urllib.parse import urlsplit

import msgspec
import uvloop

from bench.load import openloop, swarm
from bench.load.log_writer import CHANNELS_PER_EVENT, LogWriter
from bench.load.openloop import Claimer, ClaimSchedule, percentile
from bench.load.seed import SeededZone, gather_in_batches, open_seeded_zone
from bench.load.swarm import Client, Handshake
from bench.report import Figure, Report
from bench.rig import LOAD_CORE, Child, Rig, pin_to_core, print_progress
from engine.process.signer import Signer, sign_token
from engine.types import UserId

SQUAD_COUNT = 32
"""The number of squads (groups of ten technicians, see bench/load/seed.py). Each job is offered to one squad."""
LISTENER = UserId("user_observer")
TIMEOUT_S = 60.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--entries", type=int, default=100_000, help="entries in a round (default: 100000)")
    parser.add_argument("--sockets", type=int, default=3_000, help="connected and not concerned (default: 3000)")
    parser.add_argument("--claims", type=int, default=500, help="claims a second meanwhile (default: 500)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure with claims and without, round by round."""
    with pin_to_core(LOAD_CORE):
        return uvloop.run(_run(rig, arguments))


class Listener(Client):
    """The client to whose user the last event of a measurement is addressed. The measurement ends when the event
    arrives.
    """

    def __init__(self, handshake: Handshake) -> None:
        super().__init__(handshake)
        self.received = asyncio.Event()

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Set ``received`` on an event. Ignore the heads of the log."""
        if data.startswith(b'{"type"', start):
            self.received.set()


class RelayTiming(msgspec.Struct):
    """The result of one measurement: the seconds that the gateway needed, the processor seconds of gateway and Redis,
    and the latencies of the claims meanwhile (ms).
    """

    entries: int
    elapsed_s: float
    gateway_cpu_s: float
    redis_cpu_s: float
    claims: list[float] = msgspec.field(default_factory=list)


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("relay", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.start_redis()
    at, gateway = rig.start_callout(url, roles="gateway")
    port = urlsplit(at).port or 0
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    print_progress(f"{arguments.sockets} sessions that are not concerned")
    users = [UserId(f"user_r{n}") for n in range(arguments.sockets)]
    await gather_in_batches(zone.create_account(user, "customer") for user in [*users, LISTENER])
    signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
    handshakes = [swarm.callout_handshake(port, sign_token(signer, u, "customer", name=u)) for u in [LISTENER, *users]]
    listener = await swarm.open_client(port, Listener(handshakes[0]))
    await swarm.open_clients(port, handshakes[1:])
    claimers = await openloop.connect_claimers(rig, zone, port, SQUAD_COUNT)
    log_writer = await LogWriter.open(zone)
    measurement = RelayMeasurement(zone, log_writer, listener, gateway, valkey)
    timings: dict[bool, list[RelayTiming]] = {True: [], False: []}
    for number in range(arguments.rounds):
        for claims, rounds in timings.items():
            print_progress(f"round {number + 1}: {arguments.entries} entries{' while claims run' if claims else ''}")
            rounds.append(await measurement.measure(arguments.entries, claimers, arguments.claims if claims else 0))
    await log_writer.close()
    await zone.close()
    _add_figures(report, timings[True], timings[False], arguments.claims)
    report.notes.append(
        f"{arguments.entries} entries a round, {CHANNELS_PER_EVENT} channels each;"
        f" {arguments.sockets} sessions connected"
    )
    return report


class RelayMeasurement:
    """Measures the time from appending many entries until the listener's socket receives the last event."""

    def __init__(
        self, zone: SeededZone, log_writer: LogWriter, listener: Listener, gateway: Child, valkey: Child
    ) -> None:
        self._zone = zone
        self._log_writer = log_writer
        self._listener = listener
        self._gateway = gateway
        self._valkey = valkey

    async def measure(self, entries: int, claimers: list[Claimer], rate: int) -> RelayTiming:
        """Append ``entries`` to the log and time them, with ``rate`` claims a second (0: without claims)."""
        jobs = await openloop.offer_jobs(self._zone, len(claimers), rate * 2)
        await self._gateway.wait_until_idle()
        self._listener.received.clear()
        await self._log_writer.append_many(entries)
        began, gateway, redis = time.perf_counter(), self._gateway.cpu_s(), self._valkey.cpu_s()
        claims = asyncio.create_task(ClaimSchedule(claimers, jobs, rate).run()) if rate else None
        await self._log_writer.append(f"user:{LISTENER}")
        async with asyncio.timeout(TIMEOUT_S):
            await self._listener.received.wait()
        timing = RelayTiming(
            entries,
            time.perf_counter() - began,
            self._gateway.cpu_s() - gateway,
            self._valkey.cpu_s() - redis,
        )
        if claims:
            timing.claims = (await claims).claims
        await self._log_writer.trim()
        return timing


def _add_figures(report: Report, busy: list[RelayTiming], alone: list[RelayTiming], claims: int) -> None:
    rate = [t.entries / t.elapsed_s for t in busy]
    report.add(
        Figure(f"tailed and routed, {claims} claims/s meanwhile", "entries/s", rate, goal=150_000),
        Figure("gateway CPU, claims included", "µs an entry", [t.gateway_cpu_s / t.entries * 1e6 for t in busy]),
        Figure("claims meanwhile", "ms p50", [percentile(t.claims, 0.5) for t in busy]),
        Figure("claims meanwhile, slowest", "ms p99", [percentile(t.claims, 0.99) for t in busy]),
        Figure("tailed and routed, nothing else", "entries/s", [t.entries / t.elapsed_s for t in alone]),
        Figure("gateway CPU", "µs an entry", [t.gateway_cpu_s / t.entries * 1e6 for t in alone]),
        Figure("Redis CPU", "µs an entry", [t.redis_cpu_s / t.entries * 1e6 for t in alone]),
    )
