"""A child process as its parent sees it: it is forked, gets and sends messages, and ends."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic

from engine.process.metric_sums import Family
from server.supervisor.child import EXIT_FAILED, ChildPlan, run_child
from server.supervisor.messages import FromChild, FromParent, encode, take_from_child

READ_BYTES = 256 * 1024


class ChildProcess:
    """One child of the server. When it has ended, ``start`` runs it again."""

    def __init__(self, plan: ChildPlan, selector: selectors.BaseSelector) -> None:
        self.plan = plan
        self.name = plan.name
        self.pid = 0
        """The id of the process; 0 while none runs."""
        self.is_ready = False
        self.failure = ""
        """Why it could not start."""
        self.is_failure_temporary = False
        self.started_at = 0.0
        self.restart_at: float | None = None
        self.quick_ends = 0
        """How often in a row it has ended soon after its start."""
        self.families: list[Family] = []
        """Its last known metrics."""
        self._selector = selector
        self._socket: socket.socket | None = None
        self._received = bytearray()
        self._unsent = bytearray()

    def start(self, prepare_child: Callable[[], None]) -> None:
        """Fork the process. ``prepare_child`` is called in it, and releases what belongs to the parent."""
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if not pid:
            ours.close()
            _run_and_exit(self.plan, theirs, prepare_child)
        theirs.close()
        ours.setblocking(False)
        self.pid, self._socket, self.is_ready = pid, ours, False
        self.failure, self.is_failure_temporary, self.restart_at = "", False, None
        self.started_at = monotonic()
        self._received.clear()
        self._unsent.clear()
        self._selector.register(ours, selectors.EVENT_READ, self)

    def close_socket(self) -> None:
        """Close the connection to the process."""
        if self._socket:
            with suppress(KeyError, ValueError):
                self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def forget_socket(self) -> None:
        """Close the parent's end of the connection in a forked child, without changing the parent's selector."""
        if self._socket:
            self._socket.close()

    def send(self, message: FromParent) -> None:
        """Send a message, without waiting. Bytes that the process does not accept are sent later by ``exchange``."""
        if self._socket:
            self._unsent += encode(message)
            self._send_more()

    def exchange(self, events: int) -> Iterator[FromChild]:
        """Send and receive what is possible now, and yield the messages that are complete."""
        if events & selectors.EVENT_WRITE:
            self._send_more()
        if events & selectors.EVENT_READ and self._socket:
            try:
                received = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                return
            except OSError:
                received = b""
            if not received:
                return self.close_socket()
            self._received += received
            yield from take_from_child(self._received)

    def _send_more(self) -> None:
        if self._socket is None:
            return
        with suppress(BlockingIOError):
            try:
                del self._unsent[: self._socket.send(self._unsent)]
            except BlockingIOError:
                raise
            except OSError:  # the child has ended; the parent learns that by SIGCHLD
                self._unsent.clear()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        self._selector.modify(self._socket, wanted, self)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal. Do nothing if no process runs."""
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def reap(self) -> int | None:
        """Return the exit code of the process if it has ended, minus the signal that ended it; else None."""
        if not self.pid:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        self.pid, self.is_ready = 0, False
        return os.waitstatus_to_exitcode(status)

    def read_rest(self) -> Iterator[FromChild]:
        """Yield the last messages of a process that has ended, and close the connection."""
        while self._socket:
            before = len(self._received)
            messages = list(self.exchange(selectors.EVENT_READ))
            yield from messages
            if not messages and len(self._received) == before:
                self.close_socket()


def _run_and_exit(plan: ChildPlan, sock: socket.socket, prepare_child: Callable[[], None]) -> None:
    """Run the forked process and end it here: nothing of the parent's stack may run in it."""
    code = EXIT_FAILED
    try:
        prepare_child()
        os.dup2(2, 1)  # stdout is the parent's: its reader must see its end when the parent has ended
        code = run_child(plan, sock)
    except BaseException:  # this process ends: nobody else would report it
        traceback.print_exc()
    finally:
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
