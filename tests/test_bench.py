"""The benchmarks run: tiny numbers, no peers, so that they cannot rot unseen. What they measure here means nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["claim", "fanout", "wave"]


def test_claim_runs() -> None:
    """Packed claims and claims over WebSocket are made and timed."""
    figures = found("claim", "--jobs", "64", "--sockets", "4")
    assert figures["packed engine calls"] > 0
    assert figures["WebSocket"] > 0
    assert figures["job_claim, in Redis"] > 0


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the reader of the fan-out is C")
def test_fanout_runs() -> None:
    """Every socket gets every event, singly and in bursts; else the reader stalls and the run fails."""
    figures = found("fanout", "--sockets", "16")
    assert figures["Callout, one event"] > 0
    assert figures["Callout, bursts of 16"] > 0


def test_wave_runs() -> None:
    """A crowded wave comes to its offers also where the nearest were asked already."""
    figures = found("wave", "--technicians", "600", "--asked", "0", "300", "--jobs", "3")
    assert figures["core, 300 asked already: longest turn"] > 0
    assert figures["city, first wave of ten within 3 km"] > 0
