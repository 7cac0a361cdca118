"""What do more zones, more Redis nodes and more gateways cost a claim, at each acknowledgement level?

The claims are calls of ``job_claim`` through the engine's pipelines, as in ``levels``: one at a time, then 64 in
flight, spread over the zones. A Redis of more than one node is a cluster, whose zones are spread evenly. All nodes
share one core here, so the rate cannot rise with their number. What can be seen is the processor time of a claim, in
Redis and in the client. If this time stays the same, each of several nodes can do as many claims on its own core as a
single node.

The gateways are those of ``callout serve --workers``, together on one core. The goal: a second gateway costs only the
processor time with which it reads the log itself.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import time
from collections.abc import Sequence
from statistics import median

import msgspec
import uvloop

from bench.load.redis_nodes import RedisNodes, start_nodes
from bench.load.seed import (
    ScriptCall,
    SeededZone,
    bring_squads_online,
    gather_in_batches,
    member_id,
    open_seeded_zones,
)
from bench.load.worker_gateways import SQUADS_PER_ZONE, WorkerGateways, declare_zones, start_gateways
from bench.report import Figure, Report, ratio, round_order
from bench.rig import SERVER_CORE, BenchError, Rig, pin_to_core, print_progress
from engine.errors import Indeterminate
from engine.process.levels import Level
from engine.store.acknowledgement import without_acknowledgement

LAYOUTS = "1x1,2x1,4x1,2x2,4x2,4x4"
"""The layouts that are measured, each as ZONESxNODES. The number of zones is a multiple of the number of
Redis nodes.
"""
LEVELS: tuple[Level, ...] = ("fast", "replica", "aof", "sql")
WORKERS = (1, 2)
IN_FLIGHT = 64
CATCH_UP_S = 120.0


class Contender(msgspec.Struct):
    """One layout at one level, and the figures of all rounds so far."""

    name: str
    nodes: RedisNodes
    zones: list[SeededZone]
    late: int = 0
    alone_ms: list[float] = []
    per_s: list[float] = []
    redis_us: list[float] = []
    client_us: list[float] = []


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--alone", type=int, default=200, help="claims in a round, one at a time (default: 200)")
    parser.add_argument("--jobs", type=int, default=2_000, help="claims in a round, 64 in flight (default: 2000)")
    parser.add_argument("--levels", default="fast,replica,aof", help=f"of {','.join(LEVELS)} (default: all but sql)")
    parser.add_argument("--layouts", default=LAYOUTS, help=f"zones x Redis nodes (default: {LAYOUTS})")
    parser.add_argument("--sockets", type=int, default=64, help="connected claimants of the gateways (default: 64)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure each layout at each level in turn, then the gateways, round by round."""
    return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    levels = [level for level in LEVELS if level in arguments.levels.split(",")]
    if len(levels) != len(arguments.levels.split(",")):
        raise BenchError(f"--levels: {arguments.levels} are not all of {', '.join(LEVELS)}")
    layouts = [_read_layout(text) for text in arguments.layouts.split(",")]
    report = Report("wide", (__doc__ or "").split("\n", 1)[0])
    async with contextlib.AsyncExitStack() as stack:
        by_level = {}
        for level in levels:
            print_progress(f"level {level}: {len(layouts)} layouts are started")
            by_level[level] = [await _start_contender(rig, stack, level, *layout) for layout in layouts]
        gateways = [await start_gateways(rig, stack, workers, arguments.sockets) for workers in WORKERS]
        for number in range(arguments.rounds):
            for contender in round_order([each for group in by_level.values() for each in group], number):
                print_progress(f"round {number + 1}: {contender.name}")
                await _measure(contender, arguments)
            for each in round_order(gateways, number):
                print_progress(f"round {number + 1}: {each.name}")
                await each.measure(arguments.jobs)
    for level in levels:
        _add_figures(report, by_level[level], by_level[levels[0]])
    _add_gateway_figures(report, gateways)
    report.notes.append(f"{arguments.alone} claims alone and {arguments.jobs} with {IN_FLIGHT} in flight, a round")
    report.notes.append(
        "all Redis nodes, replicas and the load share one core; the client or the gateways have the other"
    )
    if late := [f"{each.name} {each.late}" for group in by_level.values() for each in group if each.late]:
        report.notes.append(f"replies that were indeterminate, and repeated: {', '.join(late)}")
    return report


def _read_layout(text: str) -> tuple[int, int]:
    """Return the zones and nodes of a layout like ``4x2``. Raises BenchError."""
    zones, _, nodes = text.partition("x")
    if not (zones.isdecimal() and nodes.isdecimal() and int(nodes) and int(zones) and int(zones) % int(nodes) == 0):
        raise BenchError(f"--layouts: {text} is not zones x nodes, like 4x2, with as many zones on each node")
    return int(zones), int(nodes)


async def _start_contender(
    rig: Rig, stack: contextlib.AsyncExitStack, level: Level, zones: int, nodes: int
) -> Contender:
    options = ("--appendfsync", "always") if level == "aof" else ("--repl-diskless-sync-delay", "0")
    started = await start_nodes(rig, nodes, zones, *options, replicas=int(level == "replica"))
    name = f"{level}, {_count_text(zones, 'zone')}, {_count_text(nodes, 'node')}"
    if level == "sql":
        env, folder = {"CALLOUT_DURABILITY": "sql"}, f"data-{zones}-{nodes}"
        cwd = declare_zones(rig.folder / f"{folder}-settings", started.zones)
        rig.start_callout(started.url, roles="archiver", env=env, folder=folder, cwd=cwd)
    opened = await open_seeded_zones(started.url, started.zones, level, replicas=1)
    stack.push_async_callback(opened[0].close)
    return Contender(name, started, opened)


def _count_text(number: int, what: str) -> str:
    return f"{number} {what}{'s' if number > 1 else ''}"


async def _measure(contender: Contender, arguments: argparse.Namespace) -> None:
    """Add one round: claims one at a time, then ``IN_FLIGHT`` at a time."""
    times_ms, *_ = await _time_claims(contender, await _offer_jobs(contender.zones, arguments.alone), 1)
    contender.alone_ms.append(median(times_ms))
    calls = await _offer_jobs(contender.zones, arguments.jobs)
    before = sum(node.cpu_s() for node in contender.nodes.primaries)
    _, elapsed_s, cpu_s = await _time_claims(contender, calls, IN_FLIGHT)
    redis_s = sum(node.cpu_s() for node in contender.nodes.primaries) - before
    contender.per_s.append(len(calls) / elapsed_s)
    contender.redis_us.append(redis_s / len(calls) * 1e6)
    contender.client_us.append(cpu_s / len(calls) * 1e6)


async def _offer_jobs(zones: Sequence[SeededZone], count: int) -> list[tuple[SeededZone, ScriptCall]]:
    """Offer ``count`` jobs, the same number in each zone, and return the calls that claim them. The zones take turns in
    the list.
    """
    squads = []
    with without_acknowledgement():
        for index, zone in enumerate(zones):
            await bring_squads_online(zone, SQUADS_PER_ZONE, first=index * SQUADS_PER_ZONE)
        for number in range(count):
            index = number % len(zones)
            squads.append(index * SQUADS_PER_ZONE + number // len(zones) % SQUADS_PER_ZONE)
        jobs = await gather_in_batches(
            zones[number % len(zones)].create_offered_job(squad) for number, squad in enumerate(squads)
        )
    for zone in zones:
        await _wait_until_acknowledged(zone)
    calls = []
    for number, (job, squad) in enumerate(zip(jobs, squads, strict=True)):
        zone = zones[number % len(zones)]
        calls.append((zone, zone.claim_call(job, member_id(squad))))
    return calls


async def _wait_until_acknowledged(zone: SeededZone) -> None:
    """Wait until the replica, or the archive in SQL, has all events."""
    until = time.monotonic() + CATCH_UP_S
    while time.monotonic() < until:
        with contextlib.suppress(Indeterminate):
            return await zone.store.acknowledge(zone.name, 0)
    raise BenchError("the replica or the archiver does not catch up")


async def _time_claims(
    contender: Contender, calls: Sequence[tuple[SeededZone, ScriptCall]], in_flight: int
) -> tuple[list[float], float, float]:
    """Make all the calls. Return the milliseconds of each, the seconds of all, and the client's processor seconds."""
    todo, times_ms = iter(calls), list[float]()

    async def run_calls() -> None:
        for zone, call in todo:
            began = time.perf_counter()
            while True:
                with contextlib.suppress(Indeterminate):
                    await zone.run(call)
                    break
                contender.late += 1
            times_ms.append((time.perf_counter() - began) * 1e3)

    gc.collect()
    with pin_to_core(SERVER_CORE):
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(run_calls() for _ in range(in_flight)))
        return times_ms, time.perf_counter() - began, time.process_time() - cpu


def _add_figures(report: Report, contenders: Sequence[Contender], cheapest_level: Sequence[Contender]) -> None:
    """Add the figures of one level. The other layouts are compared with the first one, one zone on one node."""
    one = contenders[0]
    for each, same_layout in zip(contenders, cheapest_level, strict=True):
        report.add(
            Figure(f"{each.name}: one claim at a time", "ms p50", each.alone_ms),
            Figure(f"{each.name}: {IN_FLIGHT} in flight", "claims/s", each.per_s),
            Figure(f"{each.name}: Redis CPU", "µs/claim", each.redis_us),
            Figure(f"{each.name}: client CPU", "µs/claim", each.client_us),
        )
        if each is not one:
            report.add(
                ratio(f"{each.name}: Redis CPU ÷ one zone, one node", each.redis_us, one.redis_us, better="less"),
                ratio(f"{each.name}: client CPU ÷ one zone, one node", each.client_us, one.client_us, better="less"),
            )
        if each is not same_layout:
            name = f"{each.name}: one claim's time ÷ {same_layout.name.split(',')[0]}"
            report.add(ratio(name, each.alone_ms, same_layout.alone_ms, better="less"))


def _add_gateway_figures(report: Report, gateways: Sequence[WorkerGateways]) -> None:
    one = gateways[0]
    for each in gateways:
        report.add(
            Figure(each.name, "claims/s", each.per_s),
            Figure(f"{each.name}: CPU of all processes", "µs/claim", each.cpu_us),
            Figure(f"{each.name}: claim answered, slowest", "ms p99", each.p99_ms),
        )
        if each is not one:
            report.add(ratio(f"{each.name}: CPU ÷ one worker", each.cpu_us, one.cpu_us, better="less"))
