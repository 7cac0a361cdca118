"""Decide which apps are too old for this server (PROTOCOL §4: 4506)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


def is_too_old(app: str, version: str, minimums: Iterable[str]) -> bool:
    """Return whether ``version`` of the app named ``app`` is below a minimum in ``minimums`` (the setting
    ``app_min_version``).

    Versions are compared by their numbers: 2.10 is newer than 2.9, and 2.1 equals 2.1.0. A text without a number counts
    as the oldest version.
    """
    return any(
        _version_numbers(version) < _version_numbers(least)
        for name, least in map(_split_entry, minimums)
        if name in ("", app)
    )


def _split_entry(entry: str) -> tuple[str, str]:
    name, _, version = entry.rpartition("=")
    return name, version


def _version_numbers(version: str) -> list[int]:
    found = [int(number) for number in _NUMBER.findall(version.partition("+")[0])]
    while found and not found[-1]:
        found.pop()
    return found
