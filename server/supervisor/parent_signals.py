"""The signals of a parent process without an event loop."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Coroutine
from contextlib import suppress
from types import FrameType
from typing import Any, Self, TypeVar

from server.process.signals import STOP_SIGNALS, Terminal

CHECK_S = 0.05

Result = TypeVar("Result")


class ParentSignals:
    """The stops and reloads that signals have requested while the ``with`` block runs. Each signal makes the socket
    ``wakeup`` readable.
    """

    def __init__(self) -> None:
        self.wakeup, self._written = socket.socketpair()
        self.stop_requested = False
        self._reload_requested = False
        self._terminal = Terminal()

    def __enter__(self) -> Self:
        for each in (self.wakeup, self._written):
            each.setblocking(False)
        signal.set_wakeup_fd(self._written.fileno(), warn_on_full_buffer=False)
        for number in STOP_SIGNALS:
            signal.signal(number, self._request_stop)
        signal.signal(signal.SIGHUP, self._request_reload)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *exc: object) -> None:
        for number in (*STOP_SIGNALS, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        self.wakeup.close()
        self._written.close()

    def reset_in_child(self) -> None:
        """Undo everything in a forked child. A Ctrl-C in a terminal reaches the children too, and they ignore it: the
        parent stops them in order.
        """
        self.__exit__()
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def clear_wakeup(self) -> None:
        """Make ``wakeup`` wait for the next signal."""
        with suppress(BlockingIOError):
            self.wakeup.recv(4096)

    def take_reload_request(self) -> bool:
        """Return whether a reload was requested since the last call. If the terminal is gone, request a stop instead,
        as other programs do.
        """
        requested, self._reload_requested = self._reload_requested, False
        if requested and self._terminal.is_gone:
            self._terminal.redirect_to_null()
            self.stop_requested = True
            return False
        return requested

    def run_unless_stopped(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        """Run ``work`` and return its result. If a stop is requested meanwhile, cancel ``work`` and return None."""
        return asyncio.run(self._run_unless_stopped(work))

    async def _run_unless_stopped(self, work: Coroutine[Any, Any, Result]) -> Result | None:
        task = asyncio.ensure_future(work)
        while not task.done():
            await asyncio.wait({task}, timeout=CHECK_S)
            if self.stop_requested:
                task.cancel()
        return None if task.cancelled() else task.result()

    def _request_stop(self, number: int, _: FrameType | None) -> None:
        """Request the stop. A second SIGINT ends this process at once: somebody pressed Ctrl-C twice."""
        self.stop_requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _request_reload(self, *_: object) -> None:
        self._reload_requested = True
