"""A short part of the fault suite; `make faults` runs all of it. Random seeds with which a run failed once are run
again here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.nemesis.checker import LOSS
from tests.nemesis.nemeses import NEMESES
from tests.nemesis.nemeses.registry import ALL_LEVELS
from tests.nemesis.run import Times, run_once
from tests.nemesis.world import LEVELS
from tests.support.migrated import migrated_database

SHORT = Times(before_s=1.0, after_s=0.7)
QUICK = [("server and Redis killed", "fast", 1), ("replies lost", "fast", 1)]
FAILED_ONCE = [("older file", "fast", 1), ("failover to a replica that lags", "fast", 1)]
"""The seeds with which a run has shown a fault of the product: jobs that were rebuilt without the fields that a
script compares with an empty text; a claim that had waited for Redis and ran in an older state of it.
"""


@pytest.mark.parametrize(("name", "level", "seed"), [*QUICK, *FAILED_ONCE])
async def test_a_fault_costs_nothing_that_its_level_promises(name: str, level: str, seed: int, tmp_path: Path) -> None:
    """While users act, a fault happens: nothing that was acknowledged is lost, nothing is done or delivered twice."""
    result = await run_once(NEMESES[name], level, seed, tmp_path, migrated_database(), SHORT)
    lost = [flaw for flaw in result.report.flaws if result.may_lose and flaw.kind == LOSS]
    assert [f"{flaw.kind}: {flaw.text}" for flaw in result.report.flaws if flaw not in lost] == []
    assert result.report.jobs > 3 and result.report.undecided == 0 and result.recovery_s is not None


def test_each_nemesis_says_what_it_is() -> None:
    """Each nemesis has a sentence, and known levels: it promises something at the level `sql`."""
    for nemesis in NEMESES.values():
        assert nemesis.says and "|" not in nemesis.says
        assert set(nemesis.levels) | set(nemesis.survives) <= set(ALL_LEVELS) and "sql" in nemesis.survives
    assert set(LEVELS) <= set(ALL_LEVELS)
