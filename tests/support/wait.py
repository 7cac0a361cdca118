"""Wait for a condition instead of a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def wait_until(
    condition: Callable[[], Any | Awaitable[Any]], *, within_s: float = 10.0, what: str = "the condition"
) -> Any:
    """Call ``condition`` every 10 ms until it returns a true value, and return this value. Fail after ``within_s``
    seconds with a message that contains ``what``.
    """
    end = time.monotonic() + within_s
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {within_s} s")
        await asyncio.sleep(0.01)
