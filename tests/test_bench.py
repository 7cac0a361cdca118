"""Each benchmark runs with tiny numbers and without peers, so that a broken benchmark is noticed. The measured
figures have no meaning.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import NAMES
from bench.load.hostile_bodies import hostile_requests
from bench.load.memory_samples import KeyKind, Sample, fastest_growth, kind_of_key, slope_a_minute
from tests.support.fork_server import fork_server, start_process
from tests.support.process import FinishedCommand, wait_for_command

ROOT = Path(__file__).resolve().parents[1]
QUICK_OPTIONS = ("--json", "--no-peers", "--rounds", "1", "--seconds", "0.2")


async def run_bench(*arguments: str) -> FinishedCommand:
    """Run ``python -m bench`` with these arguments in a process of its own."""
    process = await start_process(fork_server().path, "bench", *arguments, cwd=ROOT, env=os.environ)
    return await wait_for_command(process, within_s=120)


async def run_quick(*arguments: str) -> dict[str, float]:
    """Run one benchmark with tiny numbers, assert that it succeeds, and return the median of each figure by name."""
    finished = await run_bench(arguments[0], *QUICK_OPTIONS, *arguments[1:])
    assert finished.code == 0, finished.err
    report: dict[str, Any] = json.loads(finished.out)
    assert report["bench"] == arguments[0]
    assert report["machine"]["cores"] >= 1
    assert report["command"].startswith("python -m bench")
    return {figure["name"]: figure["median"] for figure in report["figures"]}


async def test_an_unknown_benchmark_is_refused() -> None:
    """An unknown name ends with the exit code 2. Without a name, all benchmarks are listed."""
    assert (await run_bench("nothing")).code == 2
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench", cwd=ROOT, stdout=PIPE, stderr=PIPE)
    finished = await wait_for_command(process)
    assert finished.code == 0
    assert [line.split()[0] for line in finished.out.splitlines()] == [*NAMES]


async def test_chat_runs() -> None:
    """The benchmark `chat` measures messages in rooms of two, three and many members. It fails if a member misses a
    message or receives it twice.
    """
    figures = await run_quick("chat", "--rooms", "2", "--rate", "50", "--large", "70", "--large-rate", "10")
    assert figures["rooms of 2: Callout"] > 0
    assert figures["rooms of 3, 50/s: Callout: delay"] > 0
    assert figures["a room of 70: Callout"] > 0
    assert figures["a room of 70, 10/s: Callout: delay"] > 0


async def test_claim_runs() -> None:
    """The benchmark `claim` measures claims through the engine and claims over WebSocket."""
    figures = await run_quick("claim", "--jobs", "64", "--sockets", "4")
    assert figures["packed engine calls"] > 0
    assert figures["WebSocket"] > 0
    assert figures["job_claim, in Redis"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_connections_runs() -> None:
    """The benchmark `connections` measures the memory of a connection and the rate of opening, with a user for each
    connection and with a few users for all.
    """
    figures = await run_quick("connections", "--connections", "200")
    assert figures["Callout, each its own user"] > 0
    assert figures["Callout: opened"] > 0
    assert figures["Callout, shared: opened"] > 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the reader of the fan-out is C")
async def test_fanout_runs() -> None:
    """The benchmark `fanout` measures single events and bursts. It fails if a socket misses an event."""
    figures = await run_quick("fanout", "--sockets", "16")
    assert figures["Callout, one event"] > 0
    assert figures["Callout, bursts of 16"] > 0


async def test_a_soak_of_no_length_is_refused() -> None:
    """A length that is no duration ends the soak before it starts a server."""
    finished = await run_bench("soak", "--for", "0s")
    assert finished.code == 1 and "--for 0s" in finished.err


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_soak_runs() -> None:
    """The benchmark `soak` books, chats and moves, and samples a server and its Valkey."""
    length = ("--for", "2s", "--warm-up", "1s", "--jobs-per-s", "1", "--every", "0.5", "--workers", "2")
    figures = await run_quick("soak", *length)
    assert figures["jobs booked"] > 0
    assert {"the server's processes grow", "keys without a TTL", "bytes in keys without a TTL"} <= {*figures}
    assert figures["the server's processes: busy"] > 0 and figures["Valkey: busy"] > 0


def test_growth_is_the_slope_and_keys_are_counted_by_kind() -> None:
    """The slope of samples is by the minute. A key is counted under its pattern, with or without a TTL."""
    samples = [Sample(10.0 * n, 100 + n, 0, 0, 0, 0, 0, 0, 0, 0, 0) for n in range(4)]
    assert slope_a_minute(samples, "server_mib") == pytest.approx(6.0)
    assert slope_a_minute(samples, "keys") == 0
    for n, sample in enumerate(samples):
        sample.processes_mib = {1: 50.0, 2: 10.0 + n, 3 + n: 500.0 * n}  # a process that ends does not count
    assert fastest_growth(samples) == pytest.approx(6.0)
    kinds = {
        "{main}:job:job_main_01m8ppk5921m03f0apm7ycm5td:offers": "{main}:job:*:offers",
        "{main}:req:user_01:7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11": "{main}:req:*:*",
        "{u:user_01m8}:account": "{u:*}:account",
        "{u:cli_admin}:presence": "{u:*}:presence",
        "{main}:supply:svc_01": "{main}:supply:*",
        "{main}:runner:archiver": "{main}:runner:archiver",
    }
    assert {key: kind_of_key(key) for key in kinds} == kinds
    kind = KeyKind()
    kind.add(100, -1)
    kind.add(50, 2_000)
    assert kind == KeyKind(1, 100, 1, 50, 2.0)


async def test_archive_runs() -> None:
    """The benchmark `archive` writes the log of whole jobs to SQL with one process and with two."""
    figures = await run_quick("archive", "--jobs", "32")
    assert figures["SQLite: archive, processes: 1"] > 0
    assert figures["SQLite: archive, processes: 2"] > 0


async def test_jobs_runs() -> None:
    """The benchmark `jobs` takes whole jobs through all their scripts and measures each of them."""
    figures = await run_quick("jobs", "--jobs", "64")
    assert figures["whole jobs that fill a core of Redis"] > 0
    assert figures["its events"] > 0


async def test_rebuild_runs() -> None:
    """The benchmark `rebuild` writes the jobs of a database to an empty Redis, and mends a log that lost its end."""
    figures = await run_quick("rebuild", "--jobs", "60")
    assert figures["live jobs written from SQL"] > 0
    assert figures["a log that lost its last 100 events"] > 0


async def test_levels_runs() -> None:
    """The benchmark `levels` measures a claim at each level."""
    figures = await run_quick("levels", "--alone", "5", "--jobs", "64")
    assert figures["fast: one writer"] > 0
    assert figures["sql, SQLite: 64 in flight"] > 0


async def test_wide_runs() -> None:
    """The benchmark `wide` measures zones, and gateways with workers."""
    figures = await run_quick("wide", "--alone", "3", "--jobs", "32", "--layouts", "2x1", "--levels", "fast")
    assert figures["fast, 2 zones, 1 node: Redis CPU"] > 0
    assert figures["WebSocket, 2 workers"] > 0


async def test_map_runs() -> None:
    """The benchmark `map` measures consoles at the whole city, at a district and at a corner."""
    size = ("--technicians", "200", "--consoles", "3", "--whole", "1", "--city-km", "5")
    figures = await run_quick("map", *size, "--interval", "0.5", "--warm", "1", "--seconds", "1.5")
    assert figures["corner: frames"] > 0
    assert figures["district: fix to frame p99"] > 0


async def test_map_runs_with_watchers() -> None:
    """The benchmark `map` measures customers who follow a technician beside the consoles, and fails if one of them does
    not have the last position.
    """
    size = ("--technicians", "120", "--consoles", "3", "--whole", "1", "--city-km", "5", "--watchers", "20")
    figures = await run_quick("map", *size, "--interval", "0.5", "--warm", "0.6", "--seconds", "1")
    assert figures["watcher: fix to socket p50"] > 0
    assert figures["positions received by the watchers"] > 10


async def test_match_runs() -> None:
    """The benchmark `match` measures searches and whole waves. It fails if a search finds the wrong technicians."""
    figures = await run_quick(
        "match", "--technicians", "600", "--sizes", "300", "--city-km", "5", "--jobs", "20", "--waves", "8"
    )
    assert figures["match, by distance, packed"] > 0
    assert figures["wave_open, 20 offers written, packed"] > 0
    assert figures["one city, 300: match, by rating and distance"] > 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the reader of the announcements is C")
async def test_latency_runs() -> None:
    """The benchmark `latency` measures claims and their events, while waves and announcements run."""
    figures = await run_quick("latency", "--rates", "50", "--technicians", "300", "--sockets", "20", "--seconds", "1")
    assert figures["50/s: claim"] > 0
    assert figures["50/s: event"] > 0
    assert figures["50/s: announcement"] > 0


async def test_location_runs() -> None:
    """Every fix is stored, the figures of gateway and Redis are there, and customers receive positions."""
    size = ("--sockets", "100", "--technicians", "110", "--passes", "3", "--tracked", "5", "--tracked-rate", "10")
    figures = await run_quick("location", *size)
    assert figures["Callout"] > 0 and figures["Callout: Redis CPU"] > 0
    assert figures["Callout: fix to the customer's position, 10/s"] > 0


async def test_offer_runs() -> None:
    """The benchmark `offer` measures the time to the first offer, which a scheduler in another process makes."""
    assert (await run_quick("offer", "--jobs", "5"))["booking to first offer"] > 0


async def test_matching_runs() -> None:
    """The benchmark `matching` replays pickups in windows and one by one. It refuses a file that is not a trace."""
    refused = await run_bench("matching", "README.md", *QUICK_OPTIONS)
    assert refused.code == 1 and "README.md, line" in refused.err
    figures = await run_quick("matching", "tests/data/pickups.csv", "--limit", "6", "--technicians", "4")
    assert figures["4 technicians, windows, exact: wait mean"] > 0
    assert figures["4 technicians, arrival, exact ÷ at once"] > 0


async def test_plan_runs() -> None:
    """The benchmark `plan` compares a planned day with greedy insertion, also with the places of a trace. It refuses a
    trace with too few places.
    """
    few = await run_bench("plan", *QUICK_OPTIONS, "--trace", "tests/data/pickups.csv", "--jobs", "500")
    assert few.code == 1 and "different places, 510 are needed" in few.err
    for places in ((), ("--trace", "tests/data/pickups.csv")):
        figures = await run_quick("plan", "--jobs", "20", "--technicians", "3", *places)
        assert figures["ruin and recreate: travel"] > 0
        assert figures["ruin and recreate: jobs served"] >= figures["greedy insertion: jobs served"]


async def test_quote_runs() -> None:
    """The benchmark `quote` measures quotes and the bookings that use them up."""
    figures = await run_quick("quote", "--quotes", "5")
    assert figures["quote, p99"] >= figures["quote, median"] > 0 and figures["booking with a quote, median"] > 0


async def test_relay_runs() -> None:
    """The benchmark `relay` measures how fast a gateway reads log entries, with claims at the same time and without."""
    figures = await run_quick("relay", "--entries", "3000", "--sockets", "10", "--claims", "20")
    assert figures["tailed and routed, 20 claims/s meanwhile"] > 0
    assert figures["tailed and routed, nothing else"] > 0


async def test_resume_runs() -> None:
    """In the benchmark `resume` a gateway is killed. All clients resume at the next gateway, and no event is lost or
    received twice.
    """
    figures = await run_quick("resume", "--clients", "40", "--events", "100", "--span", "0.5")
    for figure in ("events lost", "events received twice", "clients that received recovered:false"):
        assert figures[figure] == 0, figure
    assert figures["of these, replayed"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_upload_runs() -> None:
    """The benchmark `upload` sends hostile requests, and fails if the server answers one with a server error."""
    figures = await run_quick("upload", "--repeat", "1", "--only", "empty")
    assert figures["longest answer to a ping, at rest"] > 0
    asked = [each.name for each in hostile_requests() if "empty" in each.name]
    assert len(asked) > 4 and all(figures[name] > 0 for name in asked)
    assert figures["all uploads at once: memory"] >= 0


async def test_wave_runs() -> None:
    """The benchmark `wave` measures waves among many technicians, also if the nearest technicians have had an offer."""
    figures = await run_quick("wave", "--technicians", "600", "--asked", "0", "300", "--jobs", "3")
    assert figures["core, 300 asked already: longest call"] > 0
    assert figures["city, first wave of ten within 3 km"] > 0
