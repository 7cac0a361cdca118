"""What does each acknowledgement level cost a claim: its time alone and with 64 in flight, and claims a second?

Each level has a Valkey of its own, and what the level needs: a replica, a sync before each reply, or an archiver that
copies the log to SQLite or PostgreSQL. The claims are calls of ``job_claim`` through the engine's pipeline, as in
``claim``: one at a time, then 64 at a time. The time of a claim ends when it is acknowledged. The disk is measured too:
no level that syncs can be faster than one ``fdatasync``.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import quantiles

import msgspec
import uvloop

from bench.load.seed import (
    ZONE,
    ScriptCall,
    SeededZone,
    bring_squads_online,
    gather_in_batches,
    member_id,
    open_seeded_zone,
)
from bench.peers import postgres as pg
from bench.report import Figure, Report, ratio, round_order
from bench.rig import SERVER_CORE, BenchError, PeerUnavailable, Rig, pin_to_core, print_progress
from engine.errors import Indeterminate
from engine.process.levels import Level
from engine.store.acknowledgement import without_acknowledgement

SQUAD_COUNT = 64
IN_FLIGHT = 64
SYNC_BYTES = 4096
SYNCS = 200
PREPARATION_TIMEOUT_S = 120.0


class Contender(msgspec.Struct):
    """One level with its servers: ``name`` in the report, and the figures of all rounds so far. ``late`` counts the
    replies that were indeterminate; their claims are repeated, and their time contains the repeat.
    """

    name: str
    zone: SeededZone
    late: int = 0
    alone_ms: list[float] = []
    alone_p99_ms: list[float] = []
    alone_per_s: list[float] = []
    packed_ms: list[float] = []
    packed_p99_ms: list[float] = []
    packed_per_s: list[float] = []


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--alone", type=int, default=300, help="claims in a round, one at a time (default: 300)")
    parser.add_argument("--jobs", type=int, default=3_000, help="claims in a round, 64 at a time (default: 3000)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure the acknowledgement levels in turn, once in each round."""
    return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("levels", (__doc__ or "").split("\n", 1)[0])
    syncs: list[tuple[float, float]] = []
    async with contextlib.AsyncExitStack() as stack:
        contenders = await _start_contenders(rig, stack, report, with_peers=arguments.peers)
        info = await contenders[0].zone.store.redis.info("server")
        report.versions["valkey"] = str(info["valkey_version"])
        for number in range(arguments.rounds):
            syncs.append(_measure_sync(rig.folder))
            for contender in round_order(contenders, number):
                print_progress(f"round {number + 1}: {contender.name}")
                await _measure(contender, arguments)
    _add_figures(report, contenders, syncs)
    report.notes.append(f"{arguments.alone} claims alone and {arguments.jobs} with {IN_FLIGHT} in flight, a round")
    if late := [f"{each.name} {each.late}" for each in contenders if each.late]:
        report.notes.append(f"replies that were indeterminate, and repeated: {', '.join(late)}")
    report.notes.append("the client and the archiver share one core; Valkey, its replica and the load share the other")
    report.notes.append(
        "SQLite synchronous=FULL; PostgreSQL synchronous_commit=on; Valkey with AOF, everysec but at aof"
    )
    return report


async def _start_contenders(
    rig: Rig, stack: contextlib.AsyncExitStack, report: Report, *, with_peers: bool
) -> list[Contender]:
    contenders = [
        await _open_level(stack, "fast", rig.start_redis()[0]),
        await _open_level(stack, "replica", await _start_replicated(rig)),
        await _open_level(stack, "aof", rig.start_redis("--appendfsync", "always")[0]),
        await _start_archived(rig, stack, "sql, SQLite", {}),
    ]
    if with_peers:
        try:
            database = await stack.enter_async_context(pg.running_postgres(rig.folder))
        except PeerUnavailable as missing:
            report.unavailable_peers.append(str(missing))
        else:
            report.versions["postgres"] = database.version
            settings = {"CALLOUT_DATABASE": await database.create_database("levels")}
            contenders.append(await _start_archived(rig, stack, "sql, PostgreSQL", settings))
    return contenders


async def _open_level(stack: contextlib.AsyncExitStack, name: str, url: str, level: Level | None = None) -> Contender:
    zone = await open_seeded_zone(url, level or name, replicas=1)  # type: ignore[arg-type]
    stack.push_async_callback(zone.close)
    return Contender(name, zone)


async def _start_replicated(rig: Rig) -> str:
    """Start a server and its replica, wait until they are connected, and return the server's URL."""
    url, _ = rig.start_redis("--repl-diskless-sync-delay", "0")
    rig.start_redis("--replicaof", "127.0.0.1 " + url.rpartition(":")[2].partition("/")[0])
    zone = await open_seeded_zone(url)
    for _ in range(200):
        if "online" in str((await zone.store.redis.info("replication")).get("slave0")):
            await zone.close()
            return url
        await asyncio.sleep(0.05)
    raise BenchError("the replica does not connect")


async def _start_archived(rig: Rig, stack: contextlib.AsyncExitStack, name: str, settings: dict[str, str]) -> Contender:
    """Start a Redis server and an archiver that copies its log to SQL, for the acknowledgement level ``sql``."""
    url, _ = rig.start_redis()
    folder = f"data-{name.rpartition(' ')[2].lower()}"
    rig.start_callout(url, roles="archiver", env={"CALLOUT_DURABILITY": "sql", **settings}, folder=folder)
    return await _open_level(stack, name, url, "sql")


async def _measure(contender: Contender, arguments: argparse.Namespace) -> None:
    """Add one round: claims one at a time, then ``IN_FLIGHT`` at a time."""
    for count, in_flight, p50, p99, per_s in (
        (arguments.alone, 1, contender.alone_ms, contender.alone_p99_ms, contender.alone_per_s),
        (arguments.jobs, IN_FLIGHT, contender.packed_ms, contender.packed_p99_ms, contender.packed_per_s),
    ):
        calls = await _offer_jobs(contender, count)
        times_ms, elapsed_s = await _time_claims(contender, calls, in_flight)
        cuts = quantiles(times_ms, n=100, method="inclusive")
        p50.append(cuts[49])
        p99.append(cuts[98])
        per_s.append(len(calls) / elapsed_s)


async def _offer_jobs(contender: Contender, count: int) -> list[ScriptCall]:
    """Offer jobs, wait until all offers are acknowledged, and return the calls that claim the jobs."""
    zone = contender.zone
    with without_acknowledgement():
        await bring_squads_online(zone, SQUAD_COUNT)
        jobs = await gather_in_batches(zone.create_offered_job(number % SQUAD_COUNT) for number in range(count))
    await _wait_until_acknowledged(zone)
    return [zone.claim_call(job, member_id(number % SQUAD_COUNT)) for number, job in enumerate(jobs)]


async def _wait_until_acknowledged(zone: SeededZone) -> None:
    """Wait until the replica, or the archive in SQL, has all events."""
    until = time.monotonic() + PREPARATION_TIMEOUT_S
    while time.monotonic() < until:
        with contextlib.suppress(Indeterminate):
            return await zone.store.acknowledge(ZONE, 0)
    raise BenchError("the replica or the archiver does not catch up")


async def _time_claims(contender: Contender, calls: Sequence[ScriptCall], in_flight: int) -> tuple[list[float], float]:
    """Make all the calls, and return the milliseconds of each and the seconds of all."""
    todo, times_ms = iter(calls), list[float]()

    async def run_calls() -> None:
        for call in todo:
            began = time.perf_counter()
            while not await _is_acknowledged(contender, call):
                contender.late += 1
            times_ms.append((time.perf_counter() - began) * 1e3)

    gc.collect()
    with pin_to_core(SERVER_CORE):
        began = time.perf_counter()
        await asyncio.gather(*(run_calls() for _ in range(in_flight)))
        return times_ms, time.perf_counter() - began


async def _is_acknowledged(contender: Contender, call: ScriptCall) -> bool:
    try:
        await contender.zone.run(call)
    except Indeterminate:
        return False
    return True


def _measure_sync(folder: Path) -> tuple[float, float]:
    """Return the median and the 99th percentile of the milliseconds of ``fdatasync`` after an append to a file."""
    times_ms = []
    with (folder / "sync").open("ab", buffering=0) as file:
        for _ in range(SYNCS):
            file.write(bytes(SYNC_BYTES))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times_ms.append((time.perf_counter() - began) * 1e3)
    cuts = quantiles(times_ms, n=100, method="inclusive")
    return cuts[49], cuts[98]


def _add_figures(report: Report, contenders: Sequence[Contender], syncs: Sequence[tuple[float, float]]) -> None:
    fast = contenders[0]
    report.add(
        Figure("the disk: fdatasync", "ms p50", [p50 for p50, _ in syncs]),
        Figure("the disk: fdatasync, slowest", "ms p99", [p99 for _, p99 in syncs]),
    )
    for each in contenders:
        report.add(
            Figure(f"{each.name}: one claim at a time", "ms p50", each.alone_ms),
            Figure(f"{each.name}: one claim at a time, slowest", "ms p99", each.alone_p99_ms),
            Figure(f"{each.name}: one writer", "claims/s", each.alone_per_s),
            Figure(f"{each.name}: {IN_FLIGHT} in flight", "ms p50", each.packed_ms),
            Figure(f"{each.name}: {IN_FLIGHT} in flight, slowest", "ms p99", each.packed_p99_ms),
            Figure(f"{each.name}: {IN_FLIGHT} in flight, rate", "claims/s", each.packed_per_s),
        )
        if each is not fast:
            report.add(
                ratio(f"{each.name} ÷ fast, one claim's time", each.alone_ms, fast.alone_ms),
                ratio(f"{each.name} ÷ fast, claims/s with {IN_FLIGHT} in flight", each.packed_per_s, fast.packed_per_s),
            )
