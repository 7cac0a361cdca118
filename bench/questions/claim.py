"""How many claims a second, with ten offers each: through the engine without a socket, and over WebSocket?

Without a socket, packed: ``job_claim`` through the engine's own pipeline; server code on one core, Valkey on the other.
Over WebSocket: the gateway on one core, Valkey and the claimants on the other; the nine losers of each job are not
connected. The peers are the least that Redis could do (a bare script of four commands) and the same step in
PostgreSQL, in both forms. The engine's own scripts create jobs, technicians and offers beforehand (bench/load/seed.py).
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

from bench.load import audience, claimants, seed
from bench.load.claimants import Claimant, Ran
from bench.load.seed import Town, in_batches, member, muster, open_town
from bench.peers import postgres as pg
from bench.peers.bare import Bare
from bench.report import Figure, Report, ratio
from bench.rig import LOAD_CORE, SERVER_CORE, BenchError, Child, Missing, Rig, pinned, say
from engine.types import JobId

SQUADS = 256
TASKS = 64
"""Calls that the packed run keeps in the air: two windows of the pipeline."""


def options(parser: argparse.ArgumentParser) -> None:
    """What only this benchmark is told."""
    parser.add_argument("--jobs", type=int, default=10_000, help="claims in a round of each way (default: 10000)")
    parser.add_argument("--open", type=int, default=5_000, help="jobs on offer at a time (default: 5000)")
    parser.add_argument("--sockets", type=int, default=128, help="connected claimants (default: 128)")
    parser.add_argument("--role", default="gateway", help="roles of the server under test (default: gateway)")


def run(rig: Rig, asked: argparse.Namespace) -> Report:
    """Measure, round by round, each way in turn."""
    return uvloop.run(_run(rig, asked))


async def _run(rig: Rig, asked: argparse.Namespace) -> Report:
    if "scheduler" in asked.role:
        raise BenchError("--role: without the scheduler, whose waves would come before the benchmark's own")
    report = Report("claim", (__doc__ or "").split("\n", 1)[0])
    url, valkey = rig.redis()
    server, gateway = rig.callout(url, roles=asked.role)
    town = await open_town(url)
    report.versions["valkey"] = str((await town.store.redis.info("server"))["valkey_version"])
    say(f"{SQUADS * seed.SQUAD} technicians come online, {asked.sockets} of them over WebSocket")
    await muster(town, SQUADS)
    users = [member(squad) for squad in range(min(asked.sockets, SQUADS))]
    racers = await claimants.connected(await audience.join(rig, town, server, users))
    found = Rounds(asked, town, valkey, gateway)
    async with contextlib.AsyncExitStack() as stack:
        database = await _postgres(rig, stack, report) if asked.peers else None
        bare = await Bare.loaded(town.store) if asked.peers else None
        for number in range(asked.rounds):
            say(f"round {number + 1}: packed calls")
            await found.packed()
            if bare:
                await found.bare(bare)
            say(f"round {number + 1}: over WebSocket")
            await found.sockets(racers)
            if database:
                say(f"round {number + 1}: PostgreSQL")
                await found.postgres(database)
    await town.close()
    found.report(report)
    report.notes.append("jobs, technicians and offers made by the engine's scripts; Valkey with AOF, everysec")
    report.notes.append(f"{asked.jobs} claims a round of each way, {asked.open} jobs on offer at a time")
    report.notes.append(f"{len(racers)} claimants, one claim in flight each; server roles: {asked.role}")
    return report


async def _postgres(rig: Rig, stack: contextlib.AsyncExitStack, report: Report) -> pg.Postgres | None:
    try:
        database = await stack.enter_async_context(pg.postgres(rig.folder))
    except Missing as missing:
        report.missing.append(str(missing))
        return None
    report.versions["postgres"] = database.version
    return database


class Timed(msgspec.Struct):
    """Calls made, in how many seconds, with how many microseconds of script in all."""

    done: int = 0
    elapsed_s: float = 0.0
    usec: float = 0.0

    def __add__(self, other: Timed) -> Timed:
        return Timed(self.done + other.done, self.elapsed_s + other.elapsed_s, self.usec + other.usec)

    @property
    def per_second(self) -> float:
        return self.done / self.elapsed_s

    @property
    def script_us(self) -> float:
        return self.usec / self.done


class Rounds:
    """The figures of all rounds so far, and how one more of each is had."""

    def __init__(self, asked: argparse.Namespace, town: Town, valkey: Child, gateway: Child) -> None:
        self._asked = asked
        self._town = town
        self._valkey = valkey
        self._gateway = gateway
        self._found: dict[str, list[float]] = {}

    def _note(self, **found: float) -> None:
        for name, value in found.items():
            self._found.setdefault(name, []).append(value)

    async def _offered(self, squads: int) -> AsyncIterator[list[tuple[JobId, int]]]:
        """Batches of new jobs, each job offered to a squad, until the round has had its claims.

        Positions are renewed before each batch, so that a long run does not find them stale.
        """
        for first in range(0, self._asked.jobs, self._asked.open):
            await muster(self._town, squads)
            turns = [number % squads for number in range(min(self._asked.open, self._asked.jobs - first))]
            jobs = await in_batches(self._town.offered_job(squad) for squad in turns)
            yield list(zip(jobs, turns, strict=True))

    async def packed(self) -> None:
        """``job_claim`` by the engine's pipeline, and what it cost Redis."""
        total, redis_s = Timed(), 0.0
        async for offered in self._offered(SQUADS):
            calls = [self._town.claim(job, member(squad)) for job, squad in offered]
            before = self._valkey.cpu_s()
            total += await self._timed(self._town.run, calls)
            redis_s += self._valkey.cpu_s() - before
        self._note(packed=total.per_second, script_us=total.script_us, redis_us=redis_s / total.done * 1e6)

    async def bare(self, bare: Bare) -> None:
        """The bare script, in the same way."""
        submit = self._town.store.pipeline.submit
        total = Timed()
        for first in range(0, self._asked.jobs, self._asked.open):
            calls = await bare.prepared(min(self._asked.open, self._asked.jobs - first))
            total += await self._timed(lambda one: submit(*one), calls)
        self._note(bare_us=total.script_us)

    async def _timed(self, call: Callable[[Any], Awaitable[Any]], calls: Sequence[Any]) -> Timed:
        """Make all the calls, some at a time."""
        redis, todo = self._town.store.redis, iter(calls)

        async def work() -> None:
            for one in todo:
                await call(one)

        await redis.config_resetstat()
        gc.collect()
        with pinned(SERVER_CORE):
            began = time.perf_counter()
            await asyncio.gather(*(work() for _ in range(TASKS)))
            elapsed = time.perf_counter() - began
        stats = await redis.info("commandstats")
        usec = sum(float(stats.get(f"cmdstat_{way}", {}).get("usec", 0)) for way in ("fcall", "evalsha"))
        return Timed(len(calls), elapsed, usec)

    async def sockets(self, racers: Sequence[Claimant]) -> None:
        """The same over WebSocket: a claim is done when it is answered and its event has come to its winner."""
        total, gateway_s, redis_s = Ran(0, 0.0, [], 0.0), 0.0, 0.0
        async for offered in self._offered(len(racers)):
            frames: list[list[bytes]] = [[] for _ in racers]
            for number, (job, squad) in enumerate(offered):
                frames[squad].append(claimants.claim_frame(number + 2, job, str(uuid.uuid4())))
            await self._gateway.settled()
            gateway, redis = self._gateway.cpu_s(), self._valkey.cpu_s()
            with pinned(LOAD_CORE):
                total += await claimants.compete(racers, frames)
            await self._gateway.settled()
            gateway_s += self._gateway.cpu_s() - gateway
            redis_s += self._valkey.cpu_s() - redis
        self._note(
            ws=total.per_second,
            gateway_us=gateway_s / total.claims * 1e6,
            ws_redis_us=redis_s / total.claims * 1e6,
            load_us=total.cpu_s / total.claims * 1e6,
            p50=total.percentile(0.5),
            p99=total.percentile(0.99),
        )

    async def postgres(self, database: pg.Postgres) -> None:
        """The same step in PostgreSQL, its client on the server's core."""
        with pinned(SERVER_CORE):
            transaction = await database.rate(pg.as_transaction, self._asked.jobs)
            procedure = await database.rate(pg.as_procedure, self._asked.jobs)
        self._note(pg=transaction, pg_procedure=procedure)

    def report(self, report: Report) -> None:
        """Put it all into the table, with the goals of DESIGN §9."""
        f = self._found
        report.add(
            Figure("packed engine calls", "claims/s", f["packed"]),
            Figure("job_claim, in Redis", "µs script", f["script_us"]),
            Figure("packed: Redis CPU", "µs/claim", f["redis_us"], note="script, network, AOF"),
            Figure("WebSocket", "claims/s", f["ws"], goal=8_000),
            Figure("WebSocket: gateway CPU", "µs/claim", f["gateway_us"], goal=90, better="less"),
            Figure("WebSocket: Redis CPU", "µs/claim", f["ws_redis_us"], note="its core is shared"),
            Figure("WebSocket: load CPU", "µs/claim", f["load_us"], note="with the load"),
            Figure("WebSocket: claim answered", "ms p50", f["p50"]),
            Figure("WebSocket: claim answered, slowest", "ms p99", f["p99"]),
        )
        if "bare_us" in f:
            report.add(
                Figure("bare script of four commands", "µs script", f["bare_us"]),
                ratio("job_claim ÷ bare script", f["script_us"], f["bare_us"], goal=10, better="less"),
            )
        if "pg" in f:
            report.add(
                Figure("PostgreSQL transaction", "claims/s", f["pg"], note="BEGIN, four statements, COMMIT"),
                ratio("packed ÷ PostgreSQL transaction", f["packed"], f["pg"], goal=4),
                ratio("WebSocket ÷ PostgreSQL transaction", f["ws"], f["pg"], goal=1.5),
                Figure("PostgreSQL stored procedure", "claims/s", f["pg_procedure"], note="one round trip"),
                ratio("packed ÷ PostgreSQL procedure", f["packed"], f["pg_procedure"]),
            )
