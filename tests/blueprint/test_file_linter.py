"""Tests of the linter of `needs_files`: each invalid declaration is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.blueprint import catalogue
from tests.support.blueprints import edited_toml

FINISH = '[commands.finish]\nby = ["holder"]\nfrom = ["in_progress"]\n'
NEEDS = "needs_files = { photo = 2 }"
PROBLEMS = {
    "kind": ({NEEDS: "needs_files = { Photo = 2 }"}, "'Photo' is not small letters, digits and _"),
    "none": ({NEEDS: "needs_files = { photo = 0 }"}, "at most 20 in all"),
    "too many": (
        {NEEDS: "needs_files = { photo = 20, plan = 1 }"},
        "at most 20 in all",
    ),
    "effect": (
        {NEEDS: "", "[commands.assign]\n": f"[commands.assign]\n{NEEDS}\n"},
        'only a command that does "move" can need files, not "assign"',
    ),
    "engine": ({FINISH: FINISH.replace('["holder"]', '["holder", "engine"]')}, "the engine cannot add files"),
    "asked": (
        {FINISH: FINISH.replace('["in_progress"]', '["in_progress", "assigned"]')},
        "nobody can add files in 'assigned', before a technician has accepted",
    ),
    "open": (
        {FINISH: FINISH.replace('["in_progress"]', '["in_progress", "requested"]')},
        "nobody can add files in 'requested', before a technician has accepted",
    ),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_each_problem_is_named(tmp_path: Path, name: str) -> None:
    """Each invalid change of `managed` is reported with the expected message."""
    changes, message = PROBLEMS[name]
    path = tmp_path / "managed.toml"
    path.write_text(edited_toml("managed", changes))
    _, problems = catalogue.read_file(path)
    assert [problem for problem in problems if "needs_files: " in problem and message in problem], problems
