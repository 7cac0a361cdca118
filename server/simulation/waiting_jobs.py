"""The jobs of a simulated technician that must wait for their time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime

FREE_BEFORE_S = 5_400.0
"""A technician takes no other job if their next booked job continues within this time: an hour of work and a buffer."""


class WaitingJobs:
    """Jobs that were set aside, each with the time at which it continues."""

    def __init__(self) -> None:
        self._until_s: dict[str, float] = {}

    def add(self, job: str, wait_s: float) -> None:
        """Set the job aside for ``wait_s`` seconds."""
        self._until_s[job] = asyncio.get_running_loop().time() + wait_s

    def remove(self, job: str) -> None:
        """Forget the job."""
        self._until_s.pop(job, None)

    def names(self) -> set[str]:
        """Return the jobs that still wait."""
        now_s = asyncio.get_running_loop().time()
        self._until_s = {job: until_s for job, until_s in self._until_s.items() if until_s > now_s}
        return {*self._until_s}

    def wait_long(self, jobs: Iterable[str]) -> bool:
        """Return whether all these jobs wait long enough for another job to be done before them."""
        soon_s = asyncio.get_running_loop().time() + FREE_BEFORE_S
        return all(self._until_s.get(job, 0.0) > soon_s for job in jobs)

    def rest_s(self) -> float | None:
        """Return the seconds until the first of the jobs continues; None if no job waits."""
        until_s = min(self._until_s.values(), default=None)
        return None if until_s is None else max(0.0, until_s - asyncio.get_running_loop().time())


def seconds_until(time_text: str | None) -> float:
    """Return the seconds until a time (RFC 3339) by the local clock; 0 if there is none."""
    return (datetime.fromisoformat(time_text) - datetime.now(UTC)).total_seconds() if time_text else 0.0
