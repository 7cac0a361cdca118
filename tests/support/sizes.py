"""The sizes of the long tests: `make test` runs them with few rounds, `make test-long` with all rounds."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("CALLOUT_TEST_LONG") == "1"


def choose_size(small: int, large: int) -> int:
    """Return the number of rounds or examples of a test: ``small``, or ``large`` in a long run."""
    return large if IS_LONG else small
