"""Waiting for what must become true, instead of sleeping and hoping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def wait_until(
    true: Callable[[], Any | Awaitable[Any]], *, within_s: float = 10.0, what: str = "the condition"
) -> Any:
    """Call ``true`` until it gives something true, and return that. Fails after ``within_s`` seconds."""
    end = time.monotonic() + within_s
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {within_s} s")
        await asyncio.sleep(0.01)
