"""Tasks that a client runs beside the task that reads its socket: pongs, snapshots, polls. If one fails, the client
ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from callout_client.errors import Ended


class BackgroundTasks:
    """The tasks that a client runs beside the task that reads its socket. If one of them fails, ``on_failure`` is
    called with the error ``Ended``, whose cause is the failure.
    """

    def __init__(self, on_failure: Callable[[Ended], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start ``work`` as a task and return the task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._handle_done)
        return task

    def _handle_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            ended = fault if isinstance(fault, Ended) else Ended(f"failed: {fault!r}", 1006)
            ended.__cause__ = fault.__cause__ if ended is fault else fault
            self._on_failure(ended)

    async def cancel(self, *chosen: asyncio.Task[None]) -> None:
        """Cancel the tasks ``chosen``, or all tasks if none is given, and wait until they have ended."""
        tasks = chosen or tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
