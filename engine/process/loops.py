"""Tasks that go on for ever, and how they end."""

from __future__ import annotations

import asyncio


def not_cancelled() -> bool:
    """Whether the present task may do another round: true until somebody has cancelled it.

    On Python 3.11 ``asyncio.wait_for``, with which redis-py waits for each write, gives its result in place of a
    cancellation that comes in the same moment (fixed in 3.12, CPython issue 86296). A loop that does not look would
    then go on for ever, and whoever ended it would wait as long.
    """
    task = asyncio.current_task()
    return task is None or not task.cancelling()
