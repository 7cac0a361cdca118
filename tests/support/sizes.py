"""How large the long tests are: `make test` runs them small, `make test-long` as large as they were designed."""

from __future__ import annotations

import os

IS_LONG = os.environ.get("CALLOUT_TEST_LONG") == "1"


def choose_size(small: int, large: int) -> int:
    """Return how many rounds or examples a test makes."""
    return large if IS_LONG else small
