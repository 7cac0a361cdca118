"""The linter refuses holds that are never charged, and price changes that would not change the hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.blueprint import catalogue
from tests.blueprint.wrong import VALID_BLUEPRINT

WRONG_HOLDS: tuple[tuple[str, str, str], ...] = (
    ('refunds = ["booked"]', "holds = true", 'command forget: holds money, but does "release" and gives nobody'),
    (
        'to = "booked"',
        'to = "booked"\nholds = true',
        "holds: no command charges while money is held, so that what is held is never captured",
    ),
    (
        'event = "job.accepted"\n',
        'event = "job.accepted"\nholds = true\n[commands.prepay]\nby = ["customer"]\nfrom = ["wanted"]\n'
        'charges = true\nevent = "payment.requested"\n',
        "holds: no command charges while money is held, so that what is held is never captured",
    ),
    (
        'to = "booked"',
        'to = "booked"\nholds = true\ncharges = true',
        "command claim: holds and charges at once, so that the hold is never used",
    ),
    (
        'booked = ["notes"]',
        'booked = ["notes", "amount"]\n[commands.hire]\nby = ["offered"]\nfrom = ["asked"]\nto = "booked"\n'
        'does = "take"\nholds = true\nevent = "job.accepted"',
        "edit: booked lets amount change, but money is held",
    ),
    (
        'event = "job.accepted"\n',
        'event = "job.accepted"\n[commands.give]\nby = ["ops"]\nfrom = ["wanted"]\ndoes = "assign"\nholds = true\n'
        'event = "job.accepted"\n',
        "edit: wanted lets amount and currency change, but money is held",
    ),
)


@pytest.mark.parametrize(("old", "new", "message"), WRONG_HOLDS, ids=[message for _, _, message in WRONG_HOLDS])
def test_each_wrong_hold_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    """Each invalid edit of the valid blueprint is reported; a hold that a command charges is valid."""
    path = tmp_path / "walks.toml"
    path.write_text(VALID_BLUEPRINT.replace(old, new, 1))
    _, problems = catalogue.read_file(path)
    assert [problem for problem in problems if message in problem], problems
    path.write_text(
        VALID_BLUEPRINT.replace('to = "booked"', 'to = "booked"\nholds = true').replace(
            'marks = "met"', 'marks = "met"\ncharges = true'
        )
    )
    assert catalogue.read_file(path)[1] == []
