"""Limit the file transfers that run at the same time in a process, in all and for each caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import RateLimited, Unavailable

MAX_DOWNLOADS = 256
"""The most downloads that one process sends at once. One that nobody reads holds about 200 KiB."""
MAX_DOWNLOADS_OF_CALLER = 32


class TransferSlots:
    """The transfers that this process runs now. ``noun`` names them in refusals."""

    def __init__(self, noun: str, most: int, most_of_caller: int) -> None:
        self.noun, self.most, self.most_of_caller = noun, most, most_of_caller
        self._callers: Counter[str] = Counter()

    @property
    def count(self) -> int:
        """Return how many transfers run now."""
        return self._callers.total()

    def count_of(self, caller: str) -> int:
        """Return how many transfers of a caller run now."""
        return self._callers[caller]

    @contextmanager
    def take(self, caller: str) -> Iterator[None]:
        """Hold a slot. Raises RateLimited if the caller has too many transfers, Unavailable if the process has."""
        if self._callers[caller] >= self.most_of_caller:
            raise RateLimited(f"At most {self.most_of_caller} {self.noun} at once", retry_after=1)
        if self.count >= self.most:
            raise Unavailable(f"Too many {self.noun} at once", retry_after=1)
        self._callers[caller] += 1
        try:
            yield
        finally:
            self._callers[caller] -= 1
            self._callers += Counter()  # removes callers without transfers


def download_slots() -> TransferSlots:
    """Return the slots of the downloads of a process."""
    return TransferSlots("downloads", MAX_DOWNLOADS, MAX_DOWNLOADS_OF_CALLER)
