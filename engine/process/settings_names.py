"""The names of settings in the environment, and suggestions for misspelt names."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

VARIABLE_PREFIX = "CALLOUT_"
CLIENT_VARIABLES = ("CALLOUT_URL", "CALLOUT_TOKEN")
"""The environment variables of the client examples. They are not settings, but they are allowed, because the shell that
starts a server may have them."""


def is_unknown(variable: str, ours: Mapping[str, str]) -> bool:
    """Return whether an environment variable has the form of a setting but is not one."""
    if not variable.startswith(VARIABLE_PREFIX) or variable.startswith(VARIABLE_PREFIX + "TEST_"):
        return False
    return variable not in CLIENT_VARIABLES and variable not in ours


def suggestion(unknown: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """Return a question that names the most similar known name; "" if none is similar."""
    close = difflib.get_close_matches(unknown, known, 1)
    return f" (did you mean {close[0]}?)" if close else ""
