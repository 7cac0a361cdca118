"""Loops that run until their task is cancelled."""

from __future__ import annotations

import asyncio


def not_cancelled() -> bool:
    """Whether the current task may run another round: true until it is cancelled.

    On Python 3.11 ``asyncio.wait_for``, with which redis-py waits for each write, returns its result and drops a
    cancellation that arrives at the same moment (fixed in 3.12, CPython issue 86296). A loop without this check would
    then never end, and the task that cancelled it would wait without end.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()
