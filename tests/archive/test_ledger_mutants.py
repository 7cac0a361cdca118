"""The model of the ledger notices faults of the product: each changed script or function (mutant) is caught."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.errors import CalloutError
from engine.process.settings import Settings
from engine.rules import ledger
from engine.rules.ledger import Entry
from engine.store import scripts
from tests.archive.test_ledger_model import opened_model, run_model
from tests.nemesis.test_mutants import mutated_library

SCRIPT_MUTANTS: dict[str, tuple[str, str, str]] = {
    "a half of the fee is the platform's": (
        "lib/earnings",
        "math.ceil((amount % 1000 * per_mille - 500) / 1000)",
        "math.floor((amount % 1000 * per_mille + 500) / 1000)",
    ),
    "each part has a fee of its own": (
        "lib/earnings",
        "Earnings.fee(after, per_mille) - Earnings.fee(before, per_mille)",
        "Earnings.fee(after - before, per_mille)",
    ),
    "a refund of a job that is done takes nothing from the technician": (
        "lib/earnings",
        "if not before or net == before.net then return nil end",
        "if not before or net <= before.net then return nil end",
    ),
    "a capture counts twice": ("lib/payment_report", "job.paid + notice.amount", "job.paid + 2 * notice.amount"),
    "a capture is recorded again": ("payment_put", "if recorded then", "if recorded and status ~= 'captured' then"),
    "a failed refund is not taken back": (
        "lib/refund",
        "is_reversed, charge.back = true,",
        "is_reversed, charge.back = false,",
    ),
}


def negated(original: Callable[..., Entry]) -> Callable[..., Entry]:
    """Return a function whose entries have the other sign."""

    def made(*args: Any, **more: Any) -> Entry:
        entry = original(*args, **more)
        lines = tuple(msgspec.structs.replace(line, amount=-line.amount) for line in entry.lines)
        return msgspec.structs.replace(entry, lines=lines)

    return made


NEGATED = ("captured", "refunded", "reversed_refund", "earned", "payout")
MUTANTS = (*SCRIPT_MUTANTS, *NEGATED)
USUAL_MUTANTS = ("each part has a fee of its own", "refunded")
"""The mutants of each run of the tests; ``make mutants`` takes all."""
on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


@on_sqlite
@pytest.mark.parametrize("name", MUTANTS if os.environ.get("CALLOUT_TEST_MUTANTS") == "all" else USUAL_MUTANTS)
def test_a_mutant_is_caught(name: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model fails with a script or a function that has a fault."""
    if name in SCRIPT_MUTANTS:
        library = mutated_library(tmp_path / "lua", *SCRIPT_MUTANTS[name])
        monkeypatch.setattr(scripts, "load_installed_library", lambda: library)
    else:
        monkeypatch.setattr(ledger, name, negated(getattr(ledger, name)))
    with opened_model(settings), pytest.raises((AssertionError, CalloutError)):
        run_model()
