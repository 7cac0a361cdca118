"""Signals: SIGTERM and SIGINT stop a server, SIGHUP reloads its blueprints."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import structlog

from engine.blueprint import registry
from engine.runtime import Engine

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

log = structlog.get_logger(__name__)


class StopRequest:
    """The request to stop this server: it cancels the task that serves. A second request has no effect."""

    def __init__(self, task: asyncio.Task[object]) -> None:
        self.is_made = False
        self._task = task

    def make(self) -> None:
        """Cancel the task that serves. From now on Python handles SIGINT: somebody who presses Ctrl-C twice wants to
        end at once. The next start adopts the Valkey that is then still running.
        """
        if not self.is_made:
            self.is_made = True
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
            self._task.cancel()


@contextmanager
def stop_on_signals(numbers: Collection[signal.Signals] = STOP_SIGNALS) -> Iterator[StopRequest]:
    """Cancel the current task on these signals, during start-up and while serving, and yield the request."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    request = StopRequest(task)
    for number in numbers:
        loop.add_signal_handler(number, request.make)
    try:
        yield request
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


class Terminal:
    """The terminal from which this process was started, if there was one. If it is gone, SIGHUP stops the server, as it
    stops other programs.
    """

    def __init__(self) -> None:
        self._streams = [number for number in range(3) if os.isatty(number)]

    @property
    def is_gone(self) -> bool:
        """Whether there was a terminal that is gone."""
        return any(not os.isatty(number) for number in self._streams)

    def redirect_to_null(self) -> None:
        """Redirect the streams of the terminal to /dev/null: otherwise a write to them would fail and interrupt the
        stop.
        """
        null = os.open(os.devnull, os.O_RDWR)
        for number in self._streams:
            os.dup2(null, number)
        os.close(null)


@contextmanager
def reload_on_signal(engine: Engine) -> Iterator[None]:
    """Reload the blueprints on SIGHUP while the block runs, or stop if the terminal is gone."""
    loop, terminal = asyncio.get_running_loop(), Terminal()
    reloads: set[asyncio.Task[None]] = set()

    def handle_sighup() -> None:
        if terminal.is_gone:
            terminal.redirect_to_null()
            return signal.raise_signal(signal.SIGTERM)
        task = loop.create_task(_reload_blueprints(engine), name="the blueprints")
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop.add_signal_handler(signal.SIGHUP, handle_sighup)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def _reload_blueprints(engine: Engine) -> None:
    try:
        problems = await registry.reload_files(engine.settings, engine.archive, engine.blueprints)
    except Exception:  # a task boundary: after any error the server continues with its old blueprints
        log.exception("blueprints_not_reloaded")
        return
    if problems:
        log.error("blueprints_not_reloaded", problems=problems)
    else:
        log.info("blueprints_reloaded", keys=sorted(each.key for each in engine.blueprints.by_name.values()))
