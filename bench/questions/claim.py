"""How many claims a second, with ten offers each: through the engine without a socket, and over WebSocket?

Without a socket: calls of the script ``job_claim``, which the engine's own pipeline packs; server code on one core,
Valkey on the other. Over WebSocket: the gateway on one core, Valkey and the claimants on the other; the other nine
technicians with an offer of the same job are not connected. The peers are the least that Redis could do (a bare script
of four commands) and the same step in PostgreSQL, in both forms. The engine's own scripts create jobs, technicians and
offers beforehand (bench/load/seed.py).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import msgspec
import uvloop

from bench.load import claimants, fanout_target, seed
from bench.load.claimants import Claimant, ClaimTimes
from bench.load.seed import SeededZone, bring_squads_online, gather_in_batches, member_id, open_seeded_zone
from bench.peers import postgres as pg
from bench.peers.bare import BareScript
from bench.peers.catalogue import PEERS
from bench.report import Figure, Report, ratio
from bench.rig import LOAD_CORE, SERVER_CORE, BenchError, Child, PeerUnavailable, Rig, pin_to_core, print_progress
from engine.types import JobId

SQUAD_COUNT = 256
"""The number of squads (groups of ten technicians, see bench/load/seed.py). Each job is offered to one squad."""
CONCURRENT_CALLS = 64
"""The calls that are in flight in the packed run: two windows of the pipeline."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--jobs", type=int, default=10_000, help="claims in a round of each way (default: 10000)")
    parser.add_argument("--open", type=int, default=5_000, help="jobs on offer at a time (default: 5000)")
    parser.add_argument("--sockets", type=int, default=128, help="connected claimants (default: 128)")
    parser.add_argument("--role", default="gateway", help="roles of the server under test (default: gateway)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure each of the ways to claim in turn, round by round."""
    return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    if "scheduler" in arguments.role:
        raise BenchError("--role: without the scheduler, whose waves would come before the benchmark's own")
    report = Report("claim", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.start_redis()
    server, gateway = rig.start_callout(url, roles=arguments.role)
    zone = await open_seeded_zone(url)
    report.versions["valkey"] = str((await zone.store.redis.info("server"))["valkey_version"])
    print_progress(
        f"{SQUAD_COUNT * seed.SQUAD_SIZE} technicians come online, {arguments.sockets} of them over WebSocket"
    )
    await bring_squads_online(zone, SQUAD_COUNT)
    users = [member_id(squad) for squad in range(min(arguments.sockets, SQUAD_COUNT))]
    connected = await claimants.create_claimants(await fanout_target.connect_technicians(rig, zone, server, users))
    rounds = Rounds(arguments, zone, valkey, gateway)
    async with contextlib.AsyncExitStack() as stack:
        database = await _start_postgres(rig, stack, report) if arguments.peers else None
        bare = await BareScript.load(zone.store) if arguments.peers else None
        for number in range(arguments.rounds):
            print_progress(f"round {number + 1}: packed calls")
            await rounds.measure_pipelined_claims()
            if bare:
                await rounds.measure_bare(bare)
            print_progress(f"round {number + 1}: over WebSocket")
            await rounds.measure_sockets(connected)
            if database:
                print_progress(f"round {number + 1}: PostgreSQL")
                await rounds.measure_postgres(database)
    await zone.close()
    rounds.add_figures(report)
    report.notes.append("jobs, technicians and offers made by the engine's scripts; Valkey with AOF, everysec")
    report.notes.append(f"{arguments.jobs} claims a round of each way, {arguments.open} jobs on offer at a time")
    report.notes.append(f"{len(connected)} claimants, one claim in flight each; server roles: {arguments.role}")
    return report


async def _start_postgres(rig: Rig, stack: contextlib.AsyncExitStack, report: Report) -> pg.Postgres | None:
    try:
        database = await stack.enter_async_context(pg.running_postgres(rig.folder))
    except PeerUnavailable as missing:
        report.unavailable_peers.append(str(missing))
        return None
    report.versions["postgres"] = database.version
    return database


class CallTimes(msgspec.Struct):
    """The number of calls, the seconds of the whole run, and the microseconds that Redis spent in scripts in total."""

    calls: int = 0
    elapsed_s: float = 0.0
    scripts_us: float = 0.0

    def __add__(self, other: CallTimes) -> CallTimes:
        return CallTimes(self.calls + other.calls, self.elapsed_s + other.elapsed_s, self.scripts_us + other.scripts_us)

    @property
    def per_second(self) -> float:
        return self.calls / self.elapsed_s

    @property
    def script_us(self) -> float:
        return self.scripts_us / self.calls


class Rounds:
    """The figures of all rounds so far. Each ``measure_`` method adds one round of its kind."""

    def __init__(self, arguments: argparse.Namespace, zone: SeededZone, valkey: Child, gateway: Child) -> None:
        self._arguments = arguments
        self._zone = zone
        self._valkey = valkey
        self._gateway = gateway
        self._values: dict[str, list[float]] = {}

    def _record(self, **rounds: float) -> None:
        for name, value in rounds.items():
            self._values.setdefault(name, []).append(value)

    async def _offer_batches(self, squads: int) -> AsyncIterator[list[tuple[JobId, int]]]:
        """Yield batches of new jobs, each job offered to the ten technicians of a squad, until the round has its number
        of claims.

        Positions are renewed before each batch, so that they do not become stale in a long run.
        """
        for first in range(0, self._arguments.jobs, self._arguments.open):
            await bring_squads_online(self._zone, squads)
            turns = [number % squads for number in range(min(self._arguments.open, self._arguments.jobs - first))]
            jobs = await gather_in_batches(self._zone.create_offered_job(squad) for squad in turns)
            yield list(zip(jobs, turns, strict=True))

    async def measure_pipelined_claims(self) -> None:
        """Measure ``job_claim`` through the engine's pipeline, and the processor time of Redis."""
        total, redis_cpu_s = CallTimes(), 0.0
        async for offered in self._offer_batches(SQUAD_COUNT):
            calls = [self._zone.claim_call(job, member_id(squad)) for job, squad in offered]
            before = self._valkey.cpu_s()
            total += await self._time_calls(self._zone.run, calls)
            redis_cpu_s += self._valkey.cpu_s() - before
        self._record(packed=total.per_second, script_us=total.script_us, redis_us=redis_cpu_s / total.calls * 1e6)

    async def measure_bare(self, bare: BareScript) -> None:
        """Measure the bare script (four Redis commands) in the same way as ``job_claim``."""
        submit = self._zone.store.pipeline.submit
        total = CallTimes()
        for first in range(0, self._arguments.jobs, self._arguments.open):
            calls = await bare.prepare_calls(min(self._arguments.open, self._arguments.jobs - first))
            total += await self._time_calls(lambda one: submit(*one), calls)
        self._record(bare_us=total.script_us)

    async def _time_calls(self, call: Callable[[Any], Awaitable[Any]], calls: Sequence[Any]) -> CallTimes:
        """Make all the calls, ``CONCURRENT_CALLS`` at a time, and return the times."""
        redis, todo = self._zone.store.redis, iter(calls)

        async def run_calls() -> None:
            for one in todo:
                await call(one)

        await redis.config_resetstat()
        gc.collect()
        with pin_to_core(SERVER_CORE):
            began = time.perf_counter()
            await asyncio.gather(*(run_calls() for _ in range(CONCURRENT_CALLS)))
            elapsed = time.perf_counter() - began
        stats = await redis.info("commandstats")
        scripts_us = sum(float(stats.get(f"cmdstat_{way}", {}).get("usec", 0)) for way in ("fcall", "evalsha"))
        return CallTimes(len(calls), elapsed, scripts_us)

    async def measure_sockets(self, connected: Sequence[Claimant]) -> None:
        """Measure claims over WebSocket: a claim is done when its reply and its event have reached the holder."""
        total, gateway_cpu_s, redis_cpu_s = ClaimTimes(0, 0.0, [], 0.0), 0.0, 0.0
        async for offered in self._offer_batches(len(connected)):
            frames: list[list[bytes]] = [[] for _ in connected]
            for number, (job, squad) in enumerate(offered):
                frames[squad].append(claimants.claim_frame(number + 2, job, str(uuid.uuid4())))
            await self._gateway.wait_until_idle()
            gateway, redis = self._gateway.cpu_s(), self._valkey.cpu_s()
            with pin_to_core(LOAD_CORE):
                total += await claimants.run_claims(connected, frames)
            await self._gateway.wait_until_idle()
            gateway_cpu_s += self._gateway.cpu_s() - gateway
            redis_cpu_s += self._valkey.cpu_s() - redis
        self._record(
            ws=total.per_second,
            gateway_us=gateway_cpu_s / total.claims * 1e6,
            ws_redis_us=redis_cpu_s / total.claims * 1e6,
            load_us=total.cpu_s / total.claims * 1e6,
            p50=total.percentile(0.5),
            p99=total.percentile(0.99),
        )

    async def measure_postgres(self, database: pg.Postgres) -> None:
        """Measure the same step in PostgreSQL, with the client on the server's core: as a stored procedure, the
        strongest peer, and as a transaction.
        """
        with pin_to_core(SERVER_CORE):
            procedure = await database.measure_rate(pg.prepare_procedure_claim, self._arguments.jobs)
            transaction = await database.measure_rate(pg.prepare_transaction_claim, self._arguments.jobs)
        self._record(pg=transaction, pg_procedure=procedure)

    def add_figures(self, report: Report) -> None:
        """Add all figures to the report, with the goals of DESIGN §9."""
        f = self._values
        report.add(
            Figure("packed engine calls", "claims/s", f["packed"]),
            Figure("job_claim, in Redis", "µs script", f["script_us"]),
            Figure("packed: Redis CPU", "µs/claim", f["redis_us"], note="script, network, AOF"),
            Figure("WebSocket", "claims/s", f["ws"], goal=8_000),
            Figure("WebSocket: gateway CPU", "µs/claim", f["gateway_us"], goal=70, better="less"),
            Figure("WebSocket: Redis CPU", "µs/claim", f["ws_redis_us"], note="its core is shared"),
            Figure("WebSocket: load CPU", "µs/claim", f["load_us"], note="with the load"),
            Figure("WebSocket: claim answered", "ms p50", f["p50"]),
            Figure("WebSocket: claim answered, slowest", "ms p99", f["p99"]),
        )
        if "bare_us" in f:
            report.add(
                Figure("bare script of four commands", "µs script", f["bare_us"], note=PEERS["bare script"].omits),
                ratio("job_claim ÷ bare script", f["script_us"], f["bare_us"], goal=6, better="less"),
            )
        if "pg" in f:
            report.add(
                Figure("PostgreSQL procedure", "claims/s", f["pg_procedure"], note=PEERS["PostgreSQL procedure"].omits),
                ratio("packed ÷ PostgreSQL procedure", f["packed"], f["pg_procedure"], goal=1.3),
                Figure("PostgreSQL transaction", "claims/s", f["pg"], note=PEERS["PostgreSQL transaction"].omits),
                ratio("packed ÷ PostgreSQL transaction", f["packed"], f["pg"]),
                ratio("WebSocket ÷ PostgreSQL transaction", f["ws"], f["pg"], goal=1.5),
            )
