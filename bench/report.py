"""The result of a benchmark: figures of several rounds, ratios paired within a round, and whether they reach the goal.

A ratio is the median of the rounds' own ratios. Two servers that are measured in the same seconds run under the same
conditions of the machine; the quotient of two medians would compare different moments.
"""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.table import Table

QUIET = 0.5
"""A load average above which something else is at work, and figures are no more than a hint."""


class Figure(msgspec.Struct):
    """One measured thing: a value per round, in ``unit``; ``goal`` where DESIGN §9 sets one."""

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
    def met(self) -> bool | None:
        """Whether the median reaches the goal; None where there is none."""
        if self.goal is None:
            return None
        return self.value >= self.goal if self.better == "more" else self.value <= self.goal


def ratio(name: str, ours: Sequence[float], theirs: Sequence[float], **kind: Any) -> Figure:
    """``ours`` over ``theirs``, round by round."""
    return Figure(name, "×", [a / b for a, b in zip(ours, theirs, strict=True)], **kind)


class Report:
    """The answer to one question, on one machine, on one day."""

    def __init__(self, bench: str, question: str) -> None:
        self.bench = bench
        self.question = question
        self.figures: list[Figure] = []
        self.missing: list[str] = []
        self.notes: list[str] = []
        self.versions = {name: version(name) for name in ("callout", "uvicorn", "websockets", "redis", "hiredis")}
        self.versions["python"] = platform.python_version()
        self.load_before = os.getloadavg()[0]
        if self.load_before > QUIET:
            self.notes.append(f"the machine was not quiet before (load {self.load_before:.1f}): provisional")

    def add(self, *figures: Figure) -> None:
        """Put figures into the table, in their order."""
        self.figures.extend(figures)

    def as_dict(self) -> dict[str, Any]:
        """The whole report as plain data."""
        return {
            "bench": self.bench,
            "question": self.question,
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", "-m", "bench", *sys.argv[1:]]),
            "machine": machine() | {"load_before": round(self.load_before, 2)},
            "versions": self.versions,
            "figures": [_plain(figure) for figure in self.figures],
            "missing": self.missing,
            "notes": self.notes,
        }

    def show(self, *, as_json: bool) -> None:
        """Print it: one line of JSON, or a table with the machine above and what was missing below."""
        found = self.as_dict()
        if as_json:
            print(msgspec.json.encode(found).decode(), flush=True)
            return
        console = Console(width=None if sys.stdout.isatty() else 150)
        console.print(f"[bold]{self.bench}[/bold]: {self.question}")
        console.print(" · ".join(f"{k} {v}" for k, v in found["machine"].items()), soft_wrap=True)
        console.print(" · ".join(f"{k} {v}" for k, v in self.versions.items()), soft_wrap=True)
        console.print(f"{found['date']}  $ {found['command']}", soft_wrap=True)
        console.print(self._table())
        for text in (*(f"left out: {peer}" for peer in self.missing), *self.notes):
            console.print(f"· {text}", soft_wrap=True)

    def _table(self) -> Table:
        table = Table("what", "median", "unit", "rounds", "goal", "reached", "")
        for figure in self.figures:
            goal = "" if figure.goal is None else f"{'≥' if figure.better == 'more' else '≤'} {readable(figure.goal)}"
            met = {None: "", True: "[green]yes[/green]", False: "[red]no[/red]"}[figure.met]
            rounds = " ".join(readable(value) for value in figure.rounds)
            table.add_row(figure.name, readable(figure.value), figure.unit, rounds, goal, met, figure.note)
        return table


def _plain(figure: Figure) -> dict[str, Any]:
    return {**msgspec.structs.asdict(figure), "median": figure.value, "met": figure.met}


def readable(value: float) -> str:
    """Three significant figures, thousands apart: what a person compares."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, cores in use, memory, kernel."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "system": f"{platform.system()} {platform.release()}",
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(": ", 1)[1] for line in lines if line.startswith("model name")), platform.machine())
