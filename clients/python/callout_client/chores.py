"""What goes on beside the task that reads: pongs, snapshots, polls. A fault of theirs is the reader's fault."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from callout_client.failures import Ended


class Chores:
    """Tasks of which none is lost sight of. ``broken`` is called with the end that a failing one makes of it all."""

    def __init__(self, broken: Callable[[Ended], None]) -> None:
        self._broken = broken
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do it meanwhile."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            ended = fault if isinstance(fault, Ended) else Ended(f"failed: {fault!r}", 1006)
            ended.__cause__ = fault.__cause__ if ended is fault else fault
            self._broken(ended)

    async def end(self, *some: asyncio.Task[None]) -> None:
        """Cancel ``some``, or all, and wait until they are gone."""
        tasks = some or tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
