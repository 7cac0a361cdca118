"""Run a simulation as a command: with event loop, signal handling, and errors of one line."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from callout_client import Ended, Refusal, Unreachable
from server.cli.command_failed import CommandFailed
from server.simulation.child_server import ChildError

T = TypeVar("T")


def run_command(work: Coroutine[Any, Any, T]) -> T:
    """Run ``work`` to its end and return its result. SIGTERM and Ctrl-C cancel ``work``, so that ``work`` can stop the
    processes that it has started.

    Raises KeyboardInterrupt after one of the signals, also if a part of ``work`` then fails because the others stop.
    Without a signal, raises CommandFailed if the server fails.
    """
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run_terminable(work))
    except* (ChildError, Ended, Refusal, Unreachable) as failures:
        raise CommandFailed(str(_first_error(failures))) from failures


async def _run_terminable(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    if task is None:
        raise RuntimeError("not in a task")
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        interrupted = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, interrupt)
    try:
        return await work
    except BaseException:
        if interrupted:
            raise KeyboardInterrupt from None
        raise


def _first_error(failures: BaseExceptionGroup[Any]) -> BaseException:
    """Return the first error of an exception group. Mostly the first error is the cause of the others."""
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    return failure


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    with suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop
    return None
