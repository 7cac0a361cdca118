"""Tests of the linter of locked prices and of commissions that nobody pays."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from engine.blueprint import catalogue
from engine.blueprint.price_linter import price_problems
from engine.blueprint.schema import HOLDER_EFFECTS
from tests.support.blueprints import edited_toml

PROBLEMS = {
    "proposal": (
        {'propose = ["scheduled"]': 'propose = ["scheduled", "in_progress"]'},
        "price: propose: in 'in_progress' the price is fixed already",
    ),
    "edit": (
        {'requested = ["*"]': 'requested = ["*"]\nin_progress = ["amount", "notes"]'},
        "edit: in 'in_progress' the price is fixed already, so amount cannot change",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_comes_after_the_fixed_price_is_named(tmp_path: Path, name: str) -> None:
    """Each invalid change of `marketplace`, whose step `start` locks the price, is reported."""
    changes, message = PROBLEMS[name]
    path = tmp_path / "marketplace.toml"
    path.write_text(edited_toml("marketplace", changes))
    _, problems = catalogue.read_file(path)
    assert [problem for problem in problems if message in problem], problems


def test_a_commission_of_nobody_is_named() -> None:
    """A commission is refused if no job with a technician is ever done."""
    managed = catalogue.load_blueprints("managed", catalogue.shipped_folder()).default
    assert list(price_problems(managed)) == []
    others = {name: each for name, each in managed.commands.items() if each.effect not in HOLDER_EFFECTS}
    found = list(price_problems(msgspec.structs.replace(managed, commands=others)))
    assert found == ["commission: nobody earns anything: no job that has a technician reaches the phase done"]
