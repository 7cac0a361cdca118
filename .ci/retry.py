"""Run each failed test of the last pytest run once more, alone. Write the names of the tests that pass now to the file
NOTES.

Usage: ``retry.py NOTES``. Exits with 1 when a test fails again, when more than ``MAX_RETRIES`` tests failed in this CI
run, or when the run did not end with failed tests only (a crash, a time-out, a broken collection). ``NOTES`` collects
the names over the whole CI run; ``.ci/run`` prints them at its end under the title FLAKY. Each function that touches
SQL must run on SQLite and on PostgreSQL in a run of the whole suite. A run that missed one stays failed, even if its
failed tests pass the second time.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MAX_RETRIES = 3
FAILED_TESTS = Path(".pytest_cache/v/cache/lastfailed")
EXIT_CODE = Path(".pytest_cache/v/callout/exit")
"""The file with pytest's exit code, written by tests/conftest.py. The code is 1 if all tests ran and some failed."""
UNREACHED = Path(".pytest_cache/v/callout/unreached")
"""The file with the functions that touch SQL but that the run did not call on both databases (SQLite and PostgreSQL).
"""


def failed_tests() -> list[str]:
    """Return the node ids of the tests that failed in the last run."""
    return sorted(json.loads(FAILED_TESTS.read_text())) if FAILED_TESTS.exists() else []


def passes_alone(test: str) -> bool:
    """Run ``test`` in its own pytest process, and return whether it passes."""
    print(f"\nONCE MORE, by itself: {test}", flush=True)
    command = [".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    return subprocess.run(command, check=False).returncode == 0


def main(notes: Path) -> int:
    """Retry the failed tests, and return the exit code of this step of CI."""
    tests = failed_tests()
    earlier = notes.read_text().splitlines() if notes.exists() else []
    if not tests or not EXIT_CODE.exists() or json.loads(EXIT_CODE.read_text()) != 1:
        print("The run did not end by failed tests alone (a crash, a time-out): nothing is tried again.")
        return 1
    if UNREACHED.exists() and (unreached := json.loads(UNREACHED.read_text())):
        print(*(f"no test reaches {line}" for line in unreached), "Nothing is tried again.", sep="\n")
        return 1
    if len(tests) + len(earlier) > MAX_RETRIES:
        print(f"{len(tests) + len(earlier)} tests failed, more than {MAX_RETRIES}: none is tried again.")
        return 1
    failed_twice = [test for test in tests if not passes_alone(test)]
    notes.write_text("".join(f"{test}\n" for test in [*earlier, *(test for test in tests if test not in failed_twice)]))
    if failed_twice:
        print("Failed twice:", *failed_twice, sep="\n  ")
    return 1 if failed_twice else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
