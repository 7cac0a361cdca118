"""Limit the file transfers that run at the same time in a process, in all and for each caller."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from engine.errors import RateLimited, Unavailable

MAX_DOWNLOADS = 256
"""The most downloads that one process sends at once. One that nobody reads holds about 200 KiB."""
MAX_DOWNLOADS_OF_CALLER = 32
STALLED_S = 5.0
"""If a slot is needed, the transfer that has waited longest for its client is ended, if it has waited so long."""


class Transfer:
    """One transfer that holds a slot. ``stall`` is the wait for the client to take a piece, since ``waits_since`` (s of
    the monotonic clock); None between two pieces.
    """

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.stall: asyncio.Timeout | None = None
        self.waits_since = 0.0

    @asynccontextmanager
    async def wait_for_client(self, longest_s: float) -> AsyncIterator[None]:
        """Let the client take a piece. Raises TimeoutError after ``longest_s``, and if the slot is taken away."""
        self.waits_since = time.monotonic()
        try:
            async with asyncio.timeout(longest_s) as self.stall:
                yield
        finally:
            self.stall = None


class TransferSlots:
    """The transfers that this process runs now. ``noun`` names them in refusals."""

    def __init__(self, noun: str, most: int, most_of_caller: int) -> None:
        self.noun, self.most, self.most_of_caller = noun, most, most_of_caller
        self._running: list[Transfer] = []

    @property
    def count(self) -> int:
        """Return how many transfers run now."""
        return len(self._running)

    def count_of(self, caller: str) -> int:
        """Return how many transfers of a caller run now."""
        return sum(transfer.caller == caller for transfer in self._running)

    @contextmanager
    def take(self, caller: str) -> Iterator[Transfer]:
        """Hold a slot. Raises RateLimited if the caller has too many, Unavailable if the process has, and none of them
        waits for its client.
        """
        if self.count_of(caller) >= self.most_of_caller:
            raise RateLimited(f"At most {self.most_of_caller} {self.noun} at once", retry_after=1)
        if self.count >= self.most and not self._end_stalled():
            raise Unavailable(f"Too many {self.noun} at once", retry_after=1)
        transfer = Transfer(caller)
        self._running.append(transfer)
        try:
            yield transfer
        finally:
            if transfer in self._running:
                self._running.remove(transfer)

    def _end_stalled(self) -> bool:
        """End the transfer that waits longest for its client, and take its slot. Return whether one waits so long."""
        stalled = [each for each in self._running if each.stall and time.monotonic() - each.waits_since > STALLED_S]
        if not stalled:
            return False
        longest = min(stalled, key=lambda each: each.waits_since)
        self._running.remove(longest)
        longest.stall.reschedule(0)  # type: ignore[union-attr]
        return True


def download_slots() -> TransferSlots:
    """Return the slots of the downloads of a process."""
    return TransferSlots("downloads", MAX_DOWNLOADS, MAX_DOWNLOADS_OF_CALLER)
