"""A short part of the fault suite; `make faults` runs all of it. Seeds that failed once are run again here."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nemesis.nemeses import NEMESES
from tests.nemesis.nemeses.registry import ALL_LEVELS
from tests.nemesis.run import Times, run_once
from tests.nemesis.world import LEVELS

SHORT = Times(before_s=1.0, after_s=0.7)
QUICK = [("server and Redis killed", "fast", 1), ("replies lost", "fast", 1), ("failover", "fast", 1)]
FAILED_ONCE: list[tuple[str, str, int]] = []
"""The seeds with which a run has shown a fault of the product, or of the suite."""


@pytest.mark.parametrize(("name", "level", "seed"), [*QUICK, *FAILED_ONCE])
async def test_a_fault_costs_nothing_that_its_level_promises(
    name: str, level: str, seed: int, tmp_path: Path, migrated_database: Path
) -> None:
    """While users act, a fault happens: nothing that was acknowledged is lost, nothing is done or delivered twice."""
    result = await run_once(NEMESES[name], level, seed, tmp_path, migrated_database, SHORT)
    assert [f"{flaw.kind}: {flaw.text}" for flaw in result.report.flaws] == []
    assert result.report.jobs > 3 and result.report.undecided == 0 and result.recovery_s is not None


def test_each_nemesis_says_what_it_is() -> None:
    """Each nemesis has a sentence, and known levels: it promises something at the level `sql`."""
    for nemesis in NEMESES.values():
        assert nemesis.says and "|" not in nemesis.says
        assert set(nemesis.levels) | set(nemesis.survives) <= set(ALL_LEVELS) and "sql" in nemesis.survives
    assert set(LEVELS) <= set(ALL_LEVELS)
