"""Does the memory of any process grow under steady load, and does the log stay trimmed behind the archive?

A server with its embedded Valkey and SQLite runs as its own process. Customers book at a fixed rate, technicians win
the jobs, send positions, work and talk in the rooms. The memory of the processes and the size of the stores are sampled
every few seconds; the slopes are those of all samples after the warm-up.

Some data stays for a declared time, so its amount grows during a run: a finished job leaves Redis ten minutes after it
is archived, its waves and the record of its booking after a day. All of them have a TTL. So Redis is judged by the keys
without a TTL: neither their number nor their bytes may grow. Rooms close some seconds after their job here, and the
windows of the log and of the gateways' memory are half as long as the warm-up. The database has no bound: it grows with
each job.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console

from bench.load.memory_samples import (
    MIB,
    KeyKind,
    Sample,
    SampledServer,
    fastest_growth,
    kinds_table,
    samples_table,
    slope_a_minute,
)
from bench.load.soak_users import PACE, SoakUsers, write_blueprint
from bench.report import Figure, Report
from bench.rig import BenchError, Rig
from callout_client import Api
from engine.process.embedded import EmbeddedValkey, read_state
from engine.process.settings import SettingsError
from engine.store.redis_url import create_client
from server.cli.token import duration
from server.simulation import seed
from server.simulation.account import Operator
from server.simulation.child_server import ChildServer, admin_token, clean_environment, run_child
from server.simulation.delivery_checker import DeliveryChecker
from server.simulation.person import Simulation
from server.simulation.progress import show_progress

SERVER_GOAL_MIB = 1.0
"""The largest allowed growth of the server's memory in a minute (MiB). At 50 jobs a second this is 350 bytes for each
job. Any object that the server failed to free for each job would be larger.
"""
KEYS_GOAL = 0.02
"""The most keys without a TTL that a job may leave behind. The number of live jobs varies, so it is not 0."""
BYTES_GOAL = 20.0
"""The most bytes in keys without a TTL that a job may leave behind."""
MIN_SHARE_OF_PLAN = 0.95
"""The least share of the jobs that must be booked and won at the rate."""
EVENTS_A_JOB = 20
MAX_ARCHIVE_LAG_S = 10.0
"""The most seconds of the load that may wait for the archive, at ``EVENTS_A_JOB``."""
MAX_LOG_RATIO = 1.5
"""How many times its shortest length the log may have after the warm-up. It varies because it is trimmed in steps."""
MAX_RECENT = 10_000


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--for", dest="for_", default="10m", help="length after the warm-up (default: 10m)")
    parser.add_argument("--warm-up", default="11m", help="load before the first sample that counts (default: 11m)")
    parser.add_argument("--jobs-per-s", type=float, default=50.0, help="bookings a second (default: 50)")
    parser.add_argument("--workers", type=int, default=1, help="processes that serve, beside their parent (default: 1)")
    parser.add_argument(
        "--speak", type=float, default=0.1, help="how probable a message of a side is at each status (default: 0.1)"
    )
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two samples (default: 10)")
    parser.set_defaults(rounds=1)


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Run the load for ``--for``, and sample the memory and storage of the server."""
    if not Path("/proc/self/status").exists():
        raise BenchError("memory is read from /proc: Linux only")
    return uvloop.run(_run(rig, arguments))


class SoakReport(Report):
    """The report of a soak (a long run under steady load). It also has the memory samples and the keys of Redis by
    kind.
    """

    samples: Sequence[Sample] = ()
    kinds: tuple[dict[str, KeyKind], dict[str, KeyKind]] = ({}, {})

    def as_dict(self) -> dict[str, Any]:
        """Return the report with the samples and the kinds of keys at the end."""
        return super().as_dict() | {"samples": self.samples, "kinds": self.kinds[1]}

    def print(self, *, as_json: bool) -> None:
        """Print the report. Unless it is JSON, print the tables of the samples and of the kinds of keys before it."""
        if not as_json:
            console = Console(width=150, emoji=False)
            console.print(samples_table(self.samples), kinds_table(*self.kinds))
        super().print(as_json=as_json)


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    report = SoakReport("soak", (__doc__ or "").split("\n", 1)[0])
    try:
        warm_up_s = duration(arguments.warm_up, "--warm-up").total_seconds()
        length_s = duration(arguments.for_, "--for").total_seconds()
    except SettingsError as error:
        raise BenchError(str(error)) from error
    write_blueprint(rig.folder / "blueprints")
    window_s = f"{max(1.0, warm_up_s / 2):g}"
    env = clean_environment(
        limits="off",
        log_level="warning",
        workers=str(arguments.workers),
        blueprints=str(rig.folder / "blueprints"),
        memory_s=window_s,
        log_window_s=window_s,
    )
    data, console = rig.folder / "data", Console(stderr=True)
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(
            run_child(data, 0, env=env, cwd=rig.folder, log=rig.folder / "server.log")
        )
        server = await _open_sampled(stack, child, data)
        api = Api(child.url)
        stack.push_async_callback(api.close)
        operator = Operator(api, await admin_token(data, cwd=rig.folder, env=env))
        service = await seed.simulation_service(operator)
        simulation = Simulation(api, DeliveryChecker(MAX_RECENT), PACE, 1, service)
        users = SoakUsers(simulation, arguments.jobs_per_s, arguments.speak)
        stack.push_async_callback(users.close)
        await users.connect(operator, console)
        async with users.working():
            soak = Soak(server, users, arguments.every, console)
            await soak.sample("warm-up, s", warm_up_s)
            before = await server.count_keys(), simulation.checker.count_jobs("claimed"), users.counts.booked
            report.samples = await soak.sample("soak, s", length_s)
            claimed, booked = simulation.checker.count_jobs("claimed") - before[1], users.counts.booked - before[2]
            report.kinds = before[0], await server.count_keys()
    planned = arguments.jobs_per_s * length_s
    _add_figures(report, planned, booked, claimed, length_s)
    report.notes.append(f"{users.counts.failed} bookings failed; {simulation.messages.said} messages were said")
    report.notes.append(
        f"the windows of the log and of the gateways' memory: {window_s} s; samples: {arguments.every:g} s apart"
    )
    return report


async def _open_sampled(stack: AsyncExitStack, child: ChildServer, data: Path) -> SampledServer:
    state = read_state(data / "valkey")
    if state is None:
        raise BenchError("the server has no Valkey of its own")
    client = create_client(EmbeddedValkey(data / "valkey", state, None).url)
    stack.push_async_callback(client.aclose)
    return SampledServer(child.process.pid, state.pid, client, data)


class Soak:
    """Takes the memory samples of one run."""

    def __init__(self, server: SampledServer, users: SoakUsers, every_s: float, console: Console) -> None:
        self._server, self._users, self._every_s, self._console = server, users, every_s, console
        self._began = time.monotonic()

    async def sample(self, label: str, seconds: float) -> list[Sample]:
        """Take samples for ``seconds``, show the latest one on the console, and return all of them."""
        began, samples = time.monotonic(), [await self._server.sample(time.monotonic() - self._began)]
        with show_progress(self._console, label, round(seconds)) as update:
            while (past_s := time.monotonic() - began) < seconds:
                await asyncio.sleep(min(self._every_s, seconds - past_s))
                samples.append(await self._server.sample(time.monotonic() - self._began))
                update(min(round(time.monotonic() - began), round(seconds)), self._remark(samples[-1]))
        return samples

    def _remark(self, sample: Sample) -> str:
        return (
            f"{self._users.counts.booked} jobs, server {sample.server_mib:.0f} MiB, Redis {sample.redis_mib:.0f} MiB,"
            f" {sample.permanent_keys} keys without a TTL, {sample.archive_lag} events to archive"
        )


def _add_figures(report: SoakReport, planned: float, booked: int, claimed: int, length_s: float) -> None:
    samples, (before, after) = report.samples, report.kinds
    jobs_a_minute = max(1, booked) / length_s * 60
    grown = {
        name: sum(getattr(kind, name) for kind in after.values()) - sum(getattr(kind, name) for kind in before.values())
        for name in ("permanent_bytes", "expiring_bytes")
    }
    lag = max(sample.archive_lag for sample in samples)
    trimmed = max(sample.log_events for sample in samples) / max(1, min(sample.log_events for sample in samples))
    report.add(
        Figure("jobs booked", "of those planned", [booked / planned], goal=MIN_SHARE_OF_PLAN),
        Figure("jobs won", "of those planned", [claimed / planned], goal=MIN_SHARE_OF_PLAN),
        Figure(
            "the server's processes grow",
            "MiB/min",
            [slope_a_minute(samples, "server_mib")],
            goal=SERVER_GOAL_MIB,
            better="less",
        ),
        Figure(
            "the process that grows most", "MiB/min", [fastest_growth(samples)], goal=SERVER_GOAL_MIB, better="less"
        ),
        Figure(
            "keys without a TTL",
            "more for each job",
            [slope_a_minute(samples, "permanent_keys") / jobs_a_minute],
            goal=KEYS_GOAL,
            better="less",
        ),
        Figure(
            "bytes in keys without a TTL",
            "more for each job",
            [grown["permanent_bytes"] / max(1, booked)],
            goal=BYTES_GOAL,
            better="less",
        ),
        Figure(
            "bytes in keys with a TTL", "MiB more", [grown["expiring_bytes"] / MIB], note="they are declared to stay"
        ),
        Figure("Redis in all", "MiB more", [samples[-1].redis_mib - samples[0].redis_mib]),
        Figure(
            "events not archived yet, at most",
            "events",
            [float(lag)],
            goal=float(round(MAX_ARCHIVE_LAG_S * jobs_a_minute / 60 * EVENTS_A_JOB)),
            better="less",
        ),
        Figure("the longest log ÷ the shortest", "×", [trimmed], goal=MAX_LOG_RATIO, better="less"),
        _core_usage(samples, "server_cpu_s", "the server's processes"),
        _core_usage(samples, "valkey_cpu_s", "Valkey"),
        Figure(
            "SQLite", "KiB for each job", [(samples[-1].sqlite_mib - samples[0].sqlite_mib) * 1024 / max(1, booked)]
        ),
    )


def _core_usage(samples: Sequence[Sample], name: str, who: str) -> Figure:
    spent = getattr(samples[-1], name) - getattr(samples[0], name)
    return Figure(f"{who}: busy", "% core", [100 * spent / (samples[-1].at_s - samples[0].at_s)])
