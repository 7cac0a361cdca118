"""Loops that run until their task is cancelled, and work that must not be cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def not_cancelled() -> bool:
    """Return True until somebody has cancelled the current task. Use it as the condition of an endless loop: write
    ``while not_cancelled():`` instead of ``while True:``.

    The check is necessary because a cancellation can get lost. On Python 3.11 ``asyncio.wait_for``, with which redis-py
    waits for each write, returns its result and drops a cancellation that arrives at the same moment (fixed in 3.12,
    CPython issue 86296). ``while True`` would then never end, and the task that cancelled the loop would wait for its
    end without end.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()


def raise_if_cancelled() -> None:
    """Raise CancelledError if somebody has cancelled the current task, also if the cancellation got lost (see
    ``not_cancelled``). Call this in a loop that waits for something and ends.
    """
    if not not_cancelled():
        raise asyncio.CancelledError


async def finish_uncancelled(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` to its end even if this task is cancelled: a transaction that is cut off loses its database
    connection.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise
