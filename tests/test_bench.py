"""The benchmarks run: tiny numbers, no peers, so that they cannot rot unseen. What they measure here means nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import NAMES

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("--json", "--no-peers", "--rounds", "1", "--seconds", "0.2")


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    """``python -m bench`` as a person runs it."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def found(*words: str) -> dict[str, float]:
    """The figures that a quick run of one benchmark reports, by name."""
    ran = bench(words[0], *QUICK, *words[1:])
    assert ran.returncode == 0, ran.stderr
    report: dict[str, Any] = json.loads(ran.stdout)
    assert report["bench"] == words[0]
    assert report["machine"]["cores"] >= 1
    assert report["command"].startswith("python -m bench")
    return {figure["name"]: figure["median"] for figure in report["figures"]}


def test_an_unknown_benchmark_is_refused_with_the_list() -> None:
    """A name that is none exits 2; without a name every benchmark is listed with its question."""
    assert bench("nothing").returncode == 2
    listed = bench()
    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [*NAMES]


def test_claim_runs() -> None:
    """Packed claims and claims over WebSocket are made and timed."""
    figures = found("claim", "--jobs", "64", "--sockets", "4")
    assert figures["packed engine calls"] > 0
    assert figures["WebSocket"] > 0
    assert figures["job_claim, in Redis"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_connections_runs() -> None:
    """Connections are opened, live through a ping and are counted in memory, each its own user's and shared."""
    figures = found("connections", "--connections", "200")
    assert figures["Callout, each its own user"] > 0
    assert figures["Callout: opened"] > 0
    assert figures["Callout, shared: opened"] > 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the reader of the fan-out is C")
def test_fanout_runs() -> None:
    """Every socket gets every event, singly and in bursts; else the reader stalls and the run fails."""
    figures = found("fanout", "--sockets", "16")
    assert figures["Callout, one event"] > 0
    assert figures["Callout, bursts of 16"] > 0


def test_match_runs() -> None:
    """Matches give the right people, by one pass over everybody, in each of the cities; else the run fails."""
    figures = found("match", "--technicians", "600", "--sizes", "300", "--city-km", "5", "--jobs", "20", "--waves", "8")
    assert figures["match, by distance, packed"] > 0
    assert figures["wave_open, 20 offers written, packed"] > 0
    assert figures["one city, 300: match, by rating and distance"] > 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the reader of the announcements is C")
def test_latency_runs() -> None:
    """Every claim of the timetable is answered and its event read, with waves and announcements beside."""
    figures = found("latency", "--rates", "50", "--technicians", "300", "--sockets", "20", "--seconds", "1")
    assert figures["50/s: claim"] > 0
    assert figures["50/s: event"] > 0
    assert figures["50/s: announcement"] > 0


def test_offer_runs() -> None:
    """A scheduler in another process opens the waves of what is booked here."""
    assert found("offer", "--jobs", "5")["booking to first offer"] > 0


def test_relay_runs() -> None:
    """A pile of entries is tailed to its end, with claims beside and without."""
    figures = found("relay", "--entries", "3000", "--sockets", "10", "--claims", "20")
    assert figures["tailed and routed, 20 claims/s meanwhile"] > 0
    assert figures["tailed and routed, nothing else"] > 0


def test_resume_runs() -> None:
    """A gateway dies and all come back to the next: nothing is lost, nothing comes twice, something was replayed."""
    figures = found("resume", "--clients", "40", "--events", "100", "--span", "0.5")
    assert figures["events lost"] == figures["events heard twice"] == figures["told recovered:false"] == 0
    assert figures["of these, replayed"] > 0


def test_wave_runs() -> None:
    """A crowded wave comes to its offers also where the nearest were asked already."""
    figures = found("wave", "--technicians", "600", "--asked", "0", "300", "--jobs", "3")
    assert figures["core, 300 asked already: longest turn"] > 0
    assert figures["city, first wave of ten within 3 km"] > 0
