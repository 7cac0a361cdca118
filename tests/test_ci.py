"""Tests of `.ci/retry.py`: CI runs at most three failed tests once more, and names those that then pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAKY_SUITE = """
from pathlib import Path
def test_passes_the_second_time():
    seen = Path("seen")
    first = not seen.exists()
    seen.touch()
    assert not first
def test_never_passes():
    assert False
"""
FLAKY, BROKEN = "test_it.py::test_passes_the_second_time", "test_it.py::test_never_passes"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Create a folder with a virtual environment and a file of two tests, as after a run in which both failed. If they
    are run again, the first passes and the second fails.
    """
    (tmp_path / ".venv").symlink_to(Path(sys.prefix))
    (tmp_path / "test_it.py").write_text(FLAKY_SUITE)
    (tmp_path / "seen").touch()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def run_retry(checkout: Path, *failed: str, ended_with: int = 1, unreached: Sequence[str] = ()) -> tuple[int, str, str]:
    """Run `.ci/retry.py` after a test run in which the tests ``failed`` failed and the functions ``unreached`` were not
    reached. Return its exit code, its output, and the test names that it wrote to the file ``notes``.
    """
    record = checkout / ".pytest_cache" / "v" / "cache"
    record.mkdir(parents=True, exist_ok=True)
    (record / "lastfailed").write_text(json.dumps(dict.fromkeys(failed, True)))
    (record.parent / "callout").mkdir(exist_ok=True)
    (record.parent / "callout" / "exit").write_text(str(ended_with))
    (record.parent / "callout" / "unreached").write_text(json.dumps(unreached))
    command = [sys.executable, str(ROOT / ".ci" / "retry.py"), "notes"]
    env = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # loading them all takes seconds
    process = subprocess.run(command, cwd=checkout, env=env, capture_output=True, text=True, check=False)
    notes = checkout / "notes"
    return process.returncode, process.stdout, notes.read_text() if notes.exists() else ""


def test_a_run_that_failed_without_a_name_is_red(checkout: Path) -> None:
    """If the test run ended without the name of a failed test, or was interrupted, CI fails without a second run."""
    assert run_retry(checkout)[0] == 1
    assert run_retry(checkout, FLAKY, ended_with=2)[0] == 1


def test_a_run_that_left_a_function_unreached_is_red(checkout: Path) -> None:
    """If a function was not called on both databases, CI fails and names it, even if the failed test passes in the
    retry.
    """
    code, output, _ = run_retry(checkout, FLAKY, unreached=["a.read (sqlite)"])
    assert code == 1 and "no test reaches a.read (sqlite)" in output and "ONCE MORE" not in output


def test_more_than_three_failed_tests_are_red(checkout: Path) -> None:
    """If more than three tests failed, in one step of CI or in two, CI fails and none of them is run again."""
    code, output, _ = run_retry(checkout, *(f"{FLAKY}[{n}]" for n in range(4)))
    assert code == 1 and "ONCE MORE" not in output
    (checkout / "notes").write_text("one\ntwo\nthree\n")
    assert run_retry(checkout, FLAKY)[0] == 1


def test_a_test_that_fails_twice_is_red_and_one_that_passes_is_named(checkout: Path) -> None:
    """If one of two failed tests fails again, CI fails, and the test that passed the second time is written to
    ``notes``.
    """
    code, output, notes = run_retry(checkout, FLAKY, BROKEN)
    assert code == 1 and "Failed twice:\n  " + BROKEN in output and notes == FLAKY + "\n"


def test_a_test_that_passes_the_second_time_is_green_and_named(checkout: Path) -> None:
    """If the failed test passes the second time, CI succeeds, and the test is written to ``notes``."""
    code, _, notes = run_retry(checkout, FLAKY)
    assert (code, notes) == (0, FLAKY + "\n")
