"""The table of the fault suite: a row for each nemesis and level, for the terminal and for docs/faults.md."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.nemesis.nemeses import NEMESES
from tests.nemesis.nemeses.registry import ALL_LEVELS
from tests.nemesis.run import Result

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- make faults: begin -->", "<!-- make faults: end -->"
HEAD = (
    "fault",
    "level",
    "runs",
    "acknowledged",
    "undone",
    "two holders",
    "done twice",
    "lost / doubled / out of order / of a dead life",
    "`recovered: false`",
    "unavailable s (p50, most)",
    "recovery s (p50, most)",
    "jobs checked",
    "other flaws",
)
OWN_COLUMNS = ("undone", "two_holders", "done_twice", "lost", "doubled", "out_of_order", "dead_life")


def rows_of(results: Iterable[Result]) -> list[list[str]]:
    """Return the cells of each row. If an acknowledged command is missing although its level promises to keep it, the
    number of missing commands is bold.
    """
    groups: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        groups[result.nemesis, result.level].append(result)
    return [_row(name, level, group) for (name, level), group in groups.items()]


def _row(name: str, level: str, runs: Sequence[Result]) -> list[str]:
    counts: Counter[str] = sum((run.report.counts for run in runs), Counter())
    allowed = level not in NEMESES[name].survives
    others = {kind: n for kind, n in counts.items() if kind not in OWN_COLUMNS}
    undone = counts["undone"]
    recoveries = [run.recovery_s for run in runs if run.recovery_s is not None]
    joins = sum(run.report.joins for run in runs)
    return [
        f"{name}: {NEMESES[name].says}",
        level,
        str(len(runs)),
        str(sum(run.report.acknowledged for run in runs)),
        f"{undone} (allowed)" if allowed and undone else _format_count(undone),
        _format_count(counts["two_holders"]),
        _format_count(counts["done_twice"]),
        " / ".join(_format_count(counts[kind]) for kind in ("lost", "doubled", "out_of_order", "dead_life")),
        f"{sum(run.report.unrecovered for run in runs)} of {joins}",
        _median_and_maximum([run.unavailable_s for run in runs]),
        "closed" if any(run.closed for run in runs) else _median_and_maximum(recoveries),
        _jobs_text(runs),
        ", ".join(f"{n} {kind}" for kind, n in sorted(others.items())) or "none",
    ]


def _jobs_text(runs: Sequence[Result]) -> str:
    """Return how many jobs were judged without the log, and for how many the search gave up."""
    undecided = sum(run.report.undecided for run in runs)
    return f"{sum(run.report.jobs for run in runs)}" + (f" ({undecided} undecided)" if undecided else "")


def _format_count(count: int) -> str:
    return f"**{count}**" if count else "0"


def _median_and_maximum(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f}, {max(values):.1f}" if values else "none"


def as_markdown(rows: Sequence[Sequence[str]]) -> str:
    """Return the table in Markdown."""
    lines = [HEAD, ["---"] * len(HEAD), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def write_page(rows: Sequence[Sequence[str]]) -> None:
    """Write the rows to docs/faults.md, between its two marks. Rows of other faults and levels stay."""
    before, rest = PAGE.read_text().split(BEGIN)
    old, after = rest.split(END)
    cells = [[cell.strip() for cell in line.strip("| ").split("|")] for line in old.splitlines() if line[:1] == "|"]
    found = {_sort_key(row): list(row) for row in [*cells[2:], *rows]}
    text = as_markdown([found[place] for place in sorted(found)])
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def _sort_key(row: Sequence[str]) -> tuple[int, int]:
    """Return the sort key of a row: first the order of the faults, then of the levels. A fault that no longer exists is
    last.
    """
    names, name = list(NEMESES), row[0].partition(":")[0]
    return (names.index(name) if name in names else len(names), ALL_LEVELS.index(row[1]))
