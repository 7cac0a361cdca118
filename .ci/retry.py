"""Run each failed test of the last pytest run once more, by itself, and note those that pass under FLAKY.

Usage: ``retry.py NOTES``. Exits with 1 when a test fails again, when more than ``MOST`` tests failed in this CI run, or
when the run did not end by failed tests alone (a crash, a time-out, a broken collection). ``NOTES`` collects the names
over the whole CI run; ``.ci/run`` prints it at its very end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOST = 3
FAILED = Path(".pytest_cache/v/cache/lastfailed")
ENDED = Path(".pytest_cache/v/callout/exit")
"""pytest's exit code, written by tests/conftest.py: 1 where all tests ran and some failed."""


def failed() -> list[str]:
    """The node ids of the tests that failed in the last run."""
    return sorted(json.loads(FAILED.read_text())) if FAILED.exists() else []


def passes_alone(test: str) -> bool:
    """Whether ``test`` passes in a pytest process of its own."""
    print(f"\nONCE MORE, by itself: {test}", flush=True)
    command = [".venv/bin/python", "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
    return subprocess.run(command, check=False).returncode == 0


def main(notes: Path) -> int:
    """Retry what failed; the exit code of this step of CI."""
    tests = failed()
    known = notes.read_text().splitlines() if notes.exists() else []
    if not tests or not ENDED.exists() or json.loads(ENDED.read_text()) != 1:
        print("The run did not end by failed tests alone (a crash, a time-out): nothing is tried again.")
        return 1
    if len(tests) + len(known) > MOST:
        print(f"{len(tests) + len(known)} tests failed, more than {MOST}: none is tried again.")
        return 1
    real = [test for test in tests if not passes_alone(test)]
    notes.write_text("".join(f"{test}\n" for test in [*known, *(test for test in tests if test not in real)]))
    if real:
        print("Failed twice:", *real, sep="\n  ")
    return 1 if real else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
