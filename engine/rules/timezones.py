"""The names of time zones."""

from __future__ import annotations

import functools
from importlib import resources


def is_timezone(name: str) -> bool:
    """Return whether the IANA database has a time zone of this name.

    A host's own database has more names: ``localtime``, and copies under ``posix/`` and ``right/``. They are not the
    same everywhere, and a name that one host stores must be known to the others.
    """
    return name in _names()


@functools.cache
def _names() -> frozenset[str]:
    return frozenset(resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())
