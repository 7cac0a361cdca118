"""The result of a benchmark: figures of several rounds, ratios within each round, and whether a figure reaches
its goal.

A ratio is the median of the rounds' own ratios. Within a round the servers are measured right after each other, so the
machine is equally fast for both. The quotient of two medians would compare different moments.
"""

from __future__ import annotations

import datetime
import itertools
import os
import platform
import shlex
import sys
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median, quantiles
from typing import Any, Literal, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from bench.peers.catalogue import PEERS
from bench.rig import BenchError

QUIET_LOAD = 0.5
"""The load average above which other programs disturb the measurement; figures are then provisional."""


class Figure(msgspec.Struct):
    """One measured quantity: a value for each round, in ``unit``, and the goal of DESIGN §9 if there is one."""

    name: str
    unit: str
    rounds: list[float]
    goal: float | None = None
    better: Literal["more", "less"] = "more"
    note: str = ""

    @property
    def value(self) -> float:
        return median(self.rounds)

    @property
    def spread(self) -> tuple[float, float]:
        """Return the lowest and the highest value of all rounds."""
        return min(self.rounds), max(self.rounds)

    @property
    def reaches_goal(self) -> bool | None:
        """Return whether the median reaches the goal, or None if the figure has no goal."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "more" else self.value <= self.goal


def ratio(name: str, ours: Sequence[float], theirs: Sequence[float], **figure_options: Any) -> Figure:
    """Return a figure with ``ours`` divided by ``theirs`` for each round. Raise ValueError when one side has more
    rounds than the other.
    """
    return Figure(name, "×", [a / b for a, b in zip(ours, theirs, strict=True)], **figure_options)


class RoundValues:
    """For each measured quantity, by its name, the values of all rounds."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def add(self, name: str, value: float) -> None:
        """Add the value that a round measured for ``name``."""
        self.values.setdefault(name, []).append(value)

    def add_delays(self, name: str, delays: Iterable[Sequence[float]]) -> None:
        """Add the median and the 99th percentile of the delays that several readers measured."""
        together = list(itertools.chain(*delays))
        if len(together) < 2:
            raise BenchError(f"{name}: {len(together)} values are too few")
        cuts = quantiles(together, n=100)
        self.add(f"{name} p50", cuts[49])
        self.add(f"{name} p99", cuts[98])


ServerType = TypeVar("ServerType")


def round_order(sides: Iterable[ServerType], number: int) -> list[ServerType]:
    """Return the servers in the order in which this round measures them. Every second round has the reverse order, so
    that no server is always measured after the same other one.
    """
    return list(sides)[:: -1 if number % 2 else 1]


class Report:
    """The answer to the question of one benchmark, with the machine, the versions, the date and the command."""

    def __init__(self, bench: str, question: str) -> None:
        self.bench = bench
        self.question = question
        self.figures: list[Figure] = []
        self.unavailable_peers: list[str] = []
        self.notes: list[str] = []
        self.versions = {name: version(name) for name in ("callout", "uvicorn", "websockets", "redis", "hiredis")}
        self.versions["python"] = platform.python_version()
        self.load_before = os.getloadavg()[0]
        if self.load_before > QUIET_LOAD:
            self.notes.append(f"the machine was not quiet before (load {self.load_before:.1f}): provisional")

    def add(self, *figures: Figure) -> None:
        """Append figures to the table."""
        self.figures.extend(figures)

    def add_version(self, peer: str) -> None:
        """Record the version of a peer, if it has one. Raise PeerUnavailable when it cannot be read."""
        read_version = PEERS[peer].read_version if peer in PEERS else None
        if read_version is not None and peer not in self.versions:
            self.versions[peer] = read_version()

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report as a dictionary that JSON can represent."""
        return {
            "bench": self.bench,
            "question": self.question,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
            "machine": machine_facts() | {"load_before": round(self.load_before, 2)},
            "versions": self.versions,
            "figures": [_figure_dict(figure) for figure in self.figures],
            "missing": self.unavailable_peers,
            "notes": self.notes,
        }

    def print(self, *, as_json: bool) -> None:
        """Print the report: one line of JSON, or a table with the machine above and the unavailable peers and notes
        below.
        """
        report = self.as_dict()
        if as_json:
            print(msgspec.json.encode(report).decode(), flush=True)
            return
        console = Console(width=None if sys.stdout.isatty() else 150)
        console.print(f"[bold]{self.bench}[/bold]: {self.question}")
        console.print(" · ".join(f"{k} {v}" for k, v in report["machine"].items()), soft_wrap=True)
        console.print(" · ".join(f"{k} {v}" for k, v in self.versions.items()), soft_wrap=True)
        console.print(f"{report['date']}  $ {report['command']}", soft_wrap=True)
        console.print(self.build_table())
        for text in (*(f"left out: {peer}" for peer in self.unavailable_peers), *self.notes):
            console.print(f"· {text}", soft_wrap=True)

    def build_table(self) -> Table:
        """Return the table of all figures."""
        table = Table("what", "median", "unit", "least–greatest", "goal", "reached", "")
        for figure in self.figures:
            goal = (
                "" if figure.goal is None else f"{'≥' if figure.better == 'more' else '≤'} {format_number(figure.goal)}"
            )
            reaches_goal = {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[figure.reaches_goal]
            spread = "–".join(format_number(value) for value in figure.spread)
            table.add_row(
                figure.name, format_number(figure.value), figure.unit, spread, goal, reaches_goal, figure.note
            )
        return table


def _figure_dict(figure: Figure) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(figure),
        "median": figure.value,
        "spread": figure.spread,
        "met": figure.reaches_goal,
    }


def format_number(number: float) -> str:
    """Return the number with three significant figures, or with a comma between thousands from 100 on."""
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}"


def machine_facts() -> dict[str, Any]:
    """Return what the figures depend on: processor, number of cores in use, memory, kernel."""
    return {
        "cpu": _read_cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
    }


def _read_cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
