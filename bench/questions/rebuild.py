"""How many live jobs a second are written to an empty Redis from SQL?

The database has jobs that the engine's scripts made and its archiver archived: half are offered to ten technicians,
half are claimed and have a chat room. These jobs are copied under new ids until there are enough. Then the benchmark
empties Redis and rebuilds the zone in one process, as a server does. At the end Redis loses only the last events of its
log, and the engine restores them.
"""

from __future__ import annotations

import argparse
import gc
import time
from typing import Any

import uvloop
from rich.console import Console
from sqlalchemy import insert

from bench.load.cloned_jobs import clone_jobs
from bench.load.seed import SERVICE, SQUAD_SIZE, ZONE, SeededZone, bring_squads_online, gather_in_batches, member_id
from bench.report import Figure, Report
from bench.rig import SERVER_CORE, BenchError, Rig, pin_to_core, print_progress
from engine.process.settings import Settings
from engine.rebuild import rebuilder
from engine.rebuild.rebuilder import RebuildReport
from engine.runtime import Engine
from engine.sql.schema import services, technician_services, technicians, users
from engine.startup import open_engine
from engine.store import keys
from engine.workers import archiver
from server import logs
from server.cli.main import GC_THRESHOLDS
from server.cli.rebuild_progress import shown_progress
from server.serve import freeze_objects
from server.simulation.progress import show_progress

SQUADS = 20
TEMPLATE_JOBS = 400
"""How many jobs scripts create, before these are copied. Each technician holds one of them, and later also its copies.
"""
GOAL_JOBS_PER_S = 5_000
LOST_EVENTS = 100

console = Console(stderr=True)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--jobs", type=int, default=100_000, help="live jobs (default: 100000)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Rebuild the zone once in each round, and return the report of the times."""
    return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    logs.configure("critical")
    report = Report("rebuild", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.start_redis()
    pin_to_core(SERVER_CORE)
    data = rig.folder / "data"
    data.mkdir()
    settings = Settings(data=str(data), redis=url, limits="off")
    gc.set_threshold(*GC_THRESHOLDS)
    async with open_engine(settings) as engine:
        freeze_objects()
        await _create_archived_jobs(engine, min(TEMPLATE_JOBS, arguments.jobs))
        with show_progress(console, "live jobs into the database", arguments.jobs) as update:
            clone_jobs(data / "callout.db", arguments.jobs, update)
        rebuilt = [await _rebuild(engine, number) for number in range(arguments.rounds)]
        mended = [await _time_log_repair(engine) for _ in range(arguments.rounds)]
    rates = [arguments.jobs / each.seconds for each in rebuilt]
    report.add(
        Figure("live jobs written from SQL", "jobs/s", rates, goal=GOAL_JOBS_PER_S),
        Figure("the whole zone", "s", [each.seconds for each in rebuilt], better="less"),
        Figure(f"a log that lost its last {LOST_EVENTS} events", "ms", [1000 * each for each in mended], better="less"),
    )
    size = (data / "callout.db").stat().st_size / 1e6
    report.notes.append(f"{arguments.jobs} jobs, {rebuilt[0].rows} rows, a database of {size:.0f} MB; SQLite")
    return report


async def _create_archived_jobs(engine: Engine, count: int) -> None:
    """Make jobs by the engine's scripts, and archive them."""
    zone = SeededZone(engine.store, engine.blueprints.default)
    await _add_profiles(engine)
    await bring_squads_online(zone, SQUADS)
    jobs = await gather_in_batches(zone.create_offered_job(number % SQUADS) for number in range(count))
    await gather_in_batches(
        zone.run(zone.claim_call(job, member_id(number % SQUADS, number // SQUADS % SQUAD_SIZE)))
        for number, job in enumerate(jobs)
        if number >= count // 2
    )
    await archiver.run_once(engine)


async def _add_profiles(engine: Engine) -> None:
    """Write the technicians of the squads to SQL, which is the source of their profiles."""
    ids = [member_id(squad, place) for squad in range(SQUADS) for place in range(10)]
    person = {"role": "technician", "active": True, "password_hash": "", "version": 1, "created_at": 1}
    profile = {"zone": ZONE, "capacity": 1_000, "kyc": "approved", "account": "approved", "version": 1}
    service = {"name": "Plumbing", "category": "home", "base_amount": 1, "currency": "EUR", "pricing": "flat"}
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(services).values(id=SERVICE, **service, duration_min=1, active=True))
        await conn.execute(
            insert(users), [{"id": user, "email": f"{user}@example.org", "name": user, **person} for user in ids]
        )
        await conn.execute(insert(technicians), [{"id": user, "stars": 0, "rated": 0, **profile} for user in ids])
        await conn.execute(insert(technician_services), [{"service": SERVICE, "technician": user} for user in ids])


async def _rebuild(engine: Engine, number: int) -> RebuildReport:
    print_progress(f"round {number + 1}: Redis is emptied and rebuilt")
    await engine.store.redis.flushall()
    return await _rebuild_lost_data(engine)


async def _time_log_repair(engine: Engine) -> float:
    """Remove the last events from the log in Redis, let the engine restore them from SQL, and return the seconds it
    takes.
    """
    redis: Any = engine.store.redis
    zone = SeededZone(engine.store, engine.blueprints.default)
    await bring_squads_online(
        zone, SQUADS
    )  # during the rebuilds, the leases of technicians may have ended and their positions become too old
    before = int(await redis.hget(keys.zone_meta(ZONE), "seq"))
    while int(await redis.hget(keys.zone_meta(ZONE), "seq")) < before + LOST_EVENTS + 1:
        await zone.create_offered_job(0)
    await archiver.run_once(engine)
    head = int(await redis.hget(keys.zone_meta(ZONE), "seq"))
    last = f"{head - LOST_EVENTS}-0"
    [(_, fields)] = await redis.xrange(keys.log(ZONE), last, last)
    await redis.delete(keys.log(ZONE))
    await redis.execute_command("XADD", keys.log(ZONE), last, *fields)
    lost = {"seq": head - LOST_EVENTS, "run_id": "another server"}
    await redis.hset(keys.zone_meta(ZONE), mapping=lost)
    began = time.perf_counter()
    report = await _rebuild_lost_data(engine)
    if report.lost_events != LOST_EVENTS:
        raise BenchError(f"{report.lost_events} events were mended, and not {LOST_EVENTS}")
    return time.perf_counter() - began


async def _rebuild_lost_data(engine: Engine) -> RebuildReport:
    """Make the engine notice what Redis lost, rebuild the zone, and return the report of the rebuild."""
    state = engine.store.zones[ZONE]
    await engine.store.reopen(ZONE, stale=state.epoch)
    running: rebuilder.RunningRebuilds = {}
    async with shown_progress(console, ZONE, running):
        reports = await rebuilder.run_once(engine, running)
    if not reports or not state.open:
        raise BenchError(f"the zone was not rebuilt: {state.why}")
    return reports[0]
