"""How many whole jobs a second can be archived, by one process and by two?

The log has the events of whole jobs (booking, a wave of ten offers, a claim, four steps), made by the engine's
scripts. A process reads it in the archiver's batches and writes each to SQL in one transaction, as the archiver does:
events, channels, jobs and their states, offers, rooms, audit tree, checkpoint. Two processes have two zones and one
database. For comparison, a process stores only the events, by COPY to PostgreSQL or one INSERT of many rows to SQLite.
No archive can do less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from bench.load.archive_worker import START_KEY
from bench.load.seed import (
    STEPS,
    ZONE,
    SeededZone,
    bring_squads_online,
    gather_in_batches,
    member_id,
    open_seeded_zone,
    squad_position,
)
from bench.peers.postgres import running_postgres
from bench.report import Figure, Report, ratio
from bench.rig import ANY_CORE, SERVER_CORE, BenchError, Child, PeerUnavailable, Rig, print_progress
from engine.store import keys
from engine.types import new_job_id

SQUAD_COUNT = 64
GOAL_JOBS_PER_S = 1_500
PROCESS_COUNTS = (1, 2)
LABELS = {"archive": "archive", "copy": "events alone"}


class WorkerTiming(msgspec.Struct):
    """What one process wrote: events, elapsed seconds, and its processor seconds."""

    events: int
    elapsed_s: float
    cpu_s: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--jobs", type=int, default=2_000, help="jobs in the log (default: 2000)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Measure each database with one process and with two, round by round."""
    return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = Report("archive", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.start_redis()
    zone = await open_seeded_zone(url)
    print_progress(f"{arguments.jobs} whole jobs into the log")
    events_per_job = await _fill_log(zone, arguments.jobs)
    timings: dict[tuple[str, str, int], list[list[WorkerTiming]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        databases = await _databases(rig, stack, report) if arguments.peers else {"SQLite": _Sqlite(rig.folder)}
        runs = (("archive", 1), ("copy", 1), ("archive", 2)) if arguments.peers else (("archive", 1), ("archive", 2))
        for number in range(arguments.rounds):
            for name, (kind, count) in itertools.product(databases, runs):
                print_progress(f"round {number + 1}: {name}, {kind}, {count} processes")
                address = await databases[name].new_url()
                timings.setdefault((name, kind, count), []).append(await _archive(rig, zone, url, address, kind, count))
    await zone.close()
    _add_figures(report, timings, events_per_job)
    report.notes.append(f"{arguments.jobs} jobs a process, {events_per_job:.1f} events each; no notices of Redis")
    return report


async def _fill_log(zone: SeededZone, count: int) -> float:
    """Take ``count`` jobs through their whole life, and return how many events a job has."""
    await bring_squads_online(zone, SQUAD_COUNT)
    jobs = [(new_job_id(ZONE), number % SQUAD_COUNT) for number in range(count)]
    members = [(job, member_id(squad)) for job, squad in jobs]
    before = await _last_seq(zone)
    for calls in (
        [zone.booking_call(job, *squad_position(squad)) for job, squad in jobs],
        [zone.wave_call(job, 1) for job, _ in jobs],
        [zone.claim_call(job, member) for job, member in members],
        *([zone.step_call(job, member, step) for job, member in members] for step in STEPS),
    ):
        await gather_in_batches(zone.run(call) for call in calls)
    return (await _last_seq(zone) - before) / count


async def _last_seq(zone: SeededZone) -> int:
    return int(await zone.store.redis.hget(keys.zone_meta(ZONE), "seq") or 0)


class _Sqlite:
    """The SQLite databases of the benchmark: one file for each run."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0

    async def new_url(self) -> str:
        """Return the URL of a new SQLite database."""
        self._count += 1
        return f"sqlite:///{self._folder}/archive-{self._count}.db"


class _Postgres:
    """Databases of one PostgreSQL server, one for each run."""

    def __init__(self, uri: str) -> None:
        self._uri, self._count = uri, 0

    async def new_url(self) -> str:
        """Return the database URL of a new database of the PostgreSQL server."""
        import asyncpg

        self._count += 1
        connection = await asyncpg.connect(self._uri)
        await connection.execute(f"CREATE DATABASE archive_{self._count}")
        await connection.close()
        return self._uri.replace("/postgres?", f"/archive_{self._count}?", 1)


async def _databases(rig: Rig, stack: contextlib.AsyncExitStack, report: Report) -> dict[str, _Sqlite | _Postgres]:
    """Return the kinds of databases that this machine can run, by name."""
    found: dict[str, _Sqlite | _Postgres] = {"SQLite": _Sqlite(rig.folder)}
    folder = rig.folder / "pg"
    folder.mkdir()
    os.chmod(rig.folder, 0o755)
    try:
        server = await stack.enter_async_context(running_postgres(folder))
    except PeerUnavailable as error:
        report.notes.append(str(error))
        return found
    report.versions["postgresql"] = server.version
    return {**found, "PostgreSQL": _Postgres(server.uri)}


async def _archive(rig: Rig, zone: SeededZone, redis: str, database: str, kind: str, count: int) -> list[WorkerTiming]:
    """Let ``count`` processes archive the log at the same time, each as a zone of its own."""
    core = SERVER_CORE if count == 1 else ANY_CORE
    workers: list[Child] = []
    for number in range(count):  # start them one after the other, because the first one creates the database schema
        command = [sys.executable, "-m", "bench.load.archive_worker", redis, f"z{number}", database, kind]
        workers.append(rig.spawn(f"archiver-{number}", command, core=core))
        workers[-1].read_first_line()
    await zone.store.redis.rpush(START_KEY, *range(count))
    timings = [await _read_timing(worker) for worker in workers]
    for worker in workers:
        worker.stop()
    return timings


async def _read_timing(worker: Child) -> WorkerTiming:
    line: Any = await asyncio.to_thread(worker.read_first_line)
    timing = msgspec.convert(line, WorkerTiming)
    if not timing.events:
        raise BenchError(f"{worker.name} archived nothing")
    return timing


def _jobs_per_s(timings: list[WorkerTiming], events_per_job: float) -> float:
    slowest_s = max(each.elapsed_s for each in timings)
    return sum(each.events for each in timings) / slowest_s / events_per_job


def _add_figures(
    report: Report, timings: dict[tuple[str, str, int], list[list[WorkerTiming]]], events_per_job: float
) -> None:
    for name in dict.fromkeys(database for database, _, _ in timings):
        rates = {
            (kind, count): Figure(
                f"{name}: {LABELS[kind]}, processes: {count}",
                "jobs/s",
                [_jobs_per_s(each, events_per_job) for each in timings[name, kind, count]],
                goal=GOAL_JOBS_PER_S if count == max(PROCESS_COUNTS) else None,
            )
            for database, kind, count in timings
            if database == name
        }
        cpu_us = [1e6 * each[0].cpu_s / each[0].events for each in timings[name, "archive", 1]]
        report.add(
            *rates.values(),
            Figure(f"{name}: archiver", "µs CPU an event", cpu_us),
        )
        if ("copy", 1) in rates:
            report.add(ratio(f"{name}: archive ÷ events alone", rates["archive", 1].rounds, rates["copy", 1].rounds))
