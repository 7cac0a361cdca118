"""Wait for a condition instead of a fixed time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def wait_until(
    condition: Callable[[], Any | Awaitable[Any]], *, within_s: float = 10.0, what: str = "the condition"
) -> Any:
    """Call ``condition`` until it returns a true value, and return this value. Fail after ``within_s`` seconds with a
    message that contains ``what``. The pauses grow from 10 ms to 50 ms: what takes long is not found much later, and
    a condition that costs a request does not keep a core busy.
    """
    began = time.monotonic()
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        waited_s = time.monotonic() - began
        if waited_s > within_s:
            raise AssertionError(f"{what} did not come true within {within_s} s")
        await asyncio.sleep(min(max(0.01, waited_s / 10), 0.05))
