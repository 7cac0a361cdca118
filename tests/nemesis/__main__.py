"""Run the fault suite, print its table, and write it to docs/faults.md: ``python -m tests.nemesis`` (``make faults``).
A nemesis is a fault that the suite causes on purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import structlog

from engine.process.settings import Settings
from tests.nemesis import table
from tests.nemesis.nemeses import NEMESES, Nemesis
from tests.nemesis.run import Result, Times, run_once
from tests.nemesis.world import LEVELS
from tests.support.migrated import migrate

RUN_TIMEOUT_S = 110.0


def _parse_arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description="Users act while faults happen; a checker judges.")
    parser.add_argument("names", nargs="*", help="nemeses (default: all); `list` lists them")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds of each (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--levels", default="", help="acknowledgement levels, separated by commas")
    parser.add_argument("--minutes", type=float, help="begin again with further seeds until these minutes have passed")
    parser.add_argument("--history", type=Path, default=Path("build/faults"), help="where failed histories are written")
    parser.add_argument("--no-page", dest="page", action="store_false", help="do not write docs/faults.md")
    return parser.parse_args(argv)


def _planned_runs(given: argparse.Namespace) -> Iterator[tuple[Nemesis, str, int]]:
    """Yield the runs: each fault at each acknowledgement level with each random seed."""
    names = given.names or list(NEMESES)
    for round_ in range(given.seeds if given.minutes is None else 1_000_000):
        for name in names:
            asked = given.levels.split(",") if given.levels else NEMESES[name].levels
            for level in [each for each in asked if each in LEVELS]:
                yield NEMESES[name], level, given.seed + round_


async def _run_all(given: argparse.Namespace, folder: Path) -> tuple[list[Result], int]:
    """Return the results, and the number of runs that ended with another error than a result of the checker."""
    (folder / "migrated").mkdir()
    await migrate(Settings(data=str(folder / "migrated")))
    results: list[Result] = []
    errors = 0
    began = time.monotonic()
    for number, (nemesis, level, seed) in enumerate(_planned_runs(given)):
        if given.minutes is not None and time.monotonic() - began > given.minutes * 60:
            break
        own = folder / str(number)
        own.mkdir()
        try:
            async with asyncio.timeout(RUN_TIMEOUT_S):
                result = await run_once(nemesis, level, seed, own, folder / "migrated" / "callout.db", Times())
        except Exception:
            print(f"{nemesis.name} ({level}, seed {seed}) could not be run", file=sys.stderr)
            traceback.print_exc()
            _keep_logs(own, given.history / f"{nemesis.name} {level} {seed}".replace(" ", "-"))
            errors += 1
            continue
        results.append(result)
        counts = dict(result.report.counts)
        print(
            f"{time.monotonic() - began:5.0f} s  {nemesis.name} ({level}, seed {seed}): {result.report.acknowledged}"
            f" acknowledged, {result.report.jobs} jobs in {result.report.seconds:.1f} s, {counts or 'no flaw'}",
            file=sys.stderr,
            flush=True,
        )
        if result.failed:
            given.history.mkdir(parents=True, exist_ok=True)
            path = given.history / f"{nemesis.name} {level} {seed}.jsonl".replace(" ", "-")
            result.history.write(path)
            _keep_logs(own, path.with_suffix(""))
            for flaw in result.report.flaws[:8]:
                print(f"         {flaw.kind}: {flaw.text}", file=sys.stderr)
    return results, errors


def _keep_logs(folder: Path, to: Path) -> None:
    """Copy the servers' logs of a run to another folder."""
    to.parent.mkdir(parents=True, exist_ok=True)
    for log in folder.glob("*.log"):
        shutil.copyfile(log, f"{to}.{log.name}")


def main(argv: list[str]) -> int:
    """Run the fault suite. Return the exit code: 1 if a run shows an error that its acknowledgement level does not
    allow.
    """
    given = _parse_arguments(argv)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    if given.names == ["list"]:
        for nemesis in NEMESES.values():
            print(f"{nemesis.name:24} {nemesis.says}")
        return 0
    if unknown := [name for name in given.names if name not in NEMESES]:
        print(f"make faults: unknown: {', '.join(unknown)}; `list` lists the nemeses", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="callout-faults-") as folder:
        results, errors = asyncio.run(_run_all(given, Path(folder)))
    rows = table.rows_of(results)
    print(table.as_markdown(rows))
    if given.page:
        table.write_page(rows)
    return int(errors > 0 or any(result.failed for result in results))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
