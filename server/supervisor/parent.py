"""The parent of a server with several workers (``--workers``): it listens, holds the data directory and the embedded
Valkey, and runs the other processes. It runs nothing of the engine itself.

The parent forks one gateway for each worker, and one process for the loops of all other roles. All gateways accept on
the one socket of the parent (server/process/acceptor.py). The parent is single-threaded and has no event loop, so that
it can fork at any time: a child that has ended is started again within milliseconds, without importing anything. The
modules are in memory once for all processes.

A stop has the opposite order of the start: the gateways close their clients, then the loops release their leases, then
Valkey stops.
"""

from __future__ import annotations

import asyncio
import gc
import selectors
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import structlog

from engine.files.blobs import check_shared
from engine.process.datadir import CannotStart, DirectoryLock, hold_lock
from engine.process.embedded import EmbeddedValkey
from engine.process.settings import Settings
from server.gateway.gateway import FINISH_TIMEOUT_S
from server.process.http_server import SHUTDOWN_TIMEOUT_S
from server.process.listening import bind_metrics_socket, bind_socket, start_listening, url_of
from server.serve import PartEnded, ready_line, start_valkey
from server.supervisor.child_plans import plan_children
from server.supervisor.child_process import ChildProcess
from server.supervisor.messages import Failed, FromChild, Question, Ready, Report, Stop
from server.supervisor.parent_signals import ParentSignals
from server.supervisor.whole_report import WholeReports

QUICK_END_S = 10.0
"""A child that ends sooner after its start has ended quickly."""
MAX_QUICK_ENDS = 5
"""The whole server ends when one child has ended quickly this many times in a row."""
RESTART_PAUSES_S = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
"""The pause before each further start of a child that ends quickly; the last is also used for all later ones."""
STOP_MARGIN_S = 5.0
"""How much longer than it should a child may take to stop. Then it gets SIGKILL."""
VALKEY_CHECK_S = 0.25

log = structlog.get_logger(__name__)


def supervise(settings: Settings, *, on_ready: Callable[[dict[str, Any]], None]) -> None:
    """Serve with several processes until SIGTERM or SIGINT, then stop in order. ``on_ready`` is called with the line
    for the operator when all of them serve.

    Raises CannotStart or SettingsError if the server cannot start, and PartEnded if it cannot continue.
    """
    check_shared(settings)
    with ExitStack() as stack:
        signals = stack.enter_context(ParentSignals())
        lock = stack.enter_context(hold_lock(Path(settings.data)))
        sock = stack.enter_context(bind_socket(settings.host, settings.port))
        counts = stack.enter_context(bind_metrics_socket(settings))
        valkey = None
        if settings.redis is None:
            valkey = signals.run_unless_stopped(start_valkey(settings))
            if valkey is None:
                return
            stack.callback(_stop_valkey, valkey)
        for each in filter(None, (sock, counts)):
            start_listening(each)
        Supervisor(settings, sock, counts, valkey, signals).run(lock, on_ready)
    log.info("stopped")


def _stop_valkey(valkey: EmbeddedValkey) -> None:
    asyncio.run(valkey.stop())


class Supervisor:
    """The parent process of a server with several workers, while the server runs."""

    def __init__(
        self,
        settings: Settings,
        sock: socket.socket,
        counts: socket.socket | None,
        valkey: EmbeddedValkey | None,
        signals: ParentSignals,
    ) -> None:
        self._settings = settings
        self._sockets = [each for each in (sock, counts) if each]
        self._url, self._metrics_url = url_of(sock), f"{url_of(counts)}/metrics" if counts else ""
        self._valkey = valkey
        self._signals = signals
        self._selector = selectors.DefaultSelector()
        self._selector.register(signals.wakeup, selectors.EVENT_READ)
        plans = plan_children(settings, sock, counts, valkey)
        self._children = [ChildProcess(plan, self._selector) for plan in plans]
        self._reports = WholeReports(self._children)
        self._failure: Exception | None = None
        """Why the server ends, unless a signal has requested it."""

    def run(self, lock: DirectoryLock, on_ready: Callable[[dict[str, Any]], None]) -> None:
        """Serve until the end. Raises CannotStart and PartEnded."""
        gc.collect()
        gc.freeze()  # the collections of a child would write to the pages that it shares with the others
        with self._stop_children_at_end():
            if self._start_children():
                lock.set_url(self._url)
                on_ready(ready_line(self._settings, self._url, self._metrics_url))
                while not self._is_over:
                    self._turn()
        if self._failure:
            raise self._failure

    @property
    def _is_over(self) -> bool:
        return self._signals.stop_requested or self._failure is not None

    def _start_children(self) -> bool:
        """Start the first child, which prepares the stores, then the others. Return whether all are ready."""
        for children in (self._children[:1], self._children[1:]):
            for child in () if self._is_over else children:
                self._start(child)
            while not self._is_over and not all(child.is_ready for child in children):
                self._turn(is_starting=True)
        return not self._is_over

    def _start(self, child: ChildProcess) -> None:
        def prepare_child() -> None:
            self._signals.reset_in_child()
            self._selector.close()
            for other in self._children:
                other.forget_socket()
            for each in self._sockets:
                if each not in (child.plan.process.http_socket, child.plan.process.metrics_socket):
                    each.close()

        child.start(prepare_child)
        log.info("process_started", process=child.name, child=child.pid)

    # one turn

    def _turn(self, *, is_starting: bool = False) -> None:
        """Wait for the next message, signal or time, and handle it."""
        times = [self._reports.next_timeout, *(child.restart_at for child in self._children)]
        times += [monotonic() + VALKEY_CHECK_S] if self._valkey else []
        known = [at for at in times if at is not None]
        timeout = max(0.0, min(known) - monotonic()) if known else None
        for key, events in self._selector.select(timeout):
            child = key.data
            if child is None:
                self._signals.clear_wakeup()
                continue
            for message in child.exchange(events):
                self._handle_message(child, message)
        self._handle_signals()
        for child in self._children:
            if (code := child.reap()) is not None:
                for message in child.read_rest():
                    self._handle_message(child, message)
                self._handle_end(child, code, is_starting=is_starting)
            if child.restart_at is not None and child.restart_at <= monotonic() and not self._is_over:
                self._start(child)
        self._reports.answer_late()
        if self._valkey and not self._valkey.is_alive() and not self._is_over:
            self._failure = PartEnded("the embedded Valkey ended: without a reason")

    def _handle_message(self, child: ChildProcess, message: FromChild) -> None:
        match message:
            case Ready():
                child.is_ready = True
            case Failed():
                child.failure, child.is_failure_temporary = message.text, message.is_temporary
            case Question():
                self._reports.begin(child, message)
            case Report():
                self._reports.note_report(child, message)

    def _handle_signals(self) -> None:
        if self._signals.take_reload_request():
            for child in self._children:
                child.signal(signal.SIGHUP)

    def _handle_end(self, child: ChildProcess, code: int, *, is_starting: bool) -> None:
        """Start a child again that has ended by itself, after a pause if it ends again and again."""
        if child.plan.process.loads and child.plan.seat is not None:
            child.plan.process.loads.clear(child.plan.seat)
        if self._is_over:
            return
        how = child.failure or (f"exit code {code}" if code >= 0 else f"signal {-code}")
        if is_starting:
            text = child.failure or f"{child.name} ended at its start: {how}"
            self._failure = CannotStart(text) if child.failure else PartEnded(text)
            return
        self._reports.note_end(child)
        is_quick = monotonic() - child.started_at < QUICK_END_S
        child.quick_ends = child.quick_ends + 1 if is_quick and not child.is_failure_temporary else 0
        if child.quick_ends >= MAX_QUICK_ENDS:
            self._failure = PartEnded(f"{child.name} ended {MAX_QUICK_ENDS} times in a row at its start: {how}")
            return
        pause_s = RESTART_PAUSES_S[-1] if child.is_failure_temporary else RESTART_PAUSES_S[child.quick_ends]
        child.restart_at = monotonic() + pause_s
        log.error("process_ended", process=child.name, how=how, restart_s=pause_s)

    # the end

    @contextmanager
    def _stop_children_at_end(self) -> Iterator[None]:
        """Stop all children at the end of the `with` block: first the gateways, then the others."""
        try:
            yield
        finally:
            for sock in self._sockets:
                sock.close()
            for child in self._children:
                child.restart_at = None
            drain_s = self._settings.drain_s + 2 * FINISH_TIMEOUT_S + SHUTDOWN_TIMEOUT_S
            self._stop([child for child in self._children if child.plan.is_gateway], drain_s)
            self._stop(self._children, FINISH_TIMEOUT_S)

    def _stop(self, children: list[ChildProcess], within_s: float) -> None:
        """Let these children stop, and return when they have ended."""
        is_abandoned = self._valkey is not None and not self._valkey.is_alive()
        for child in children:
            child.send(Stop(is_abandoned))
        until = monotonic() + within_s + STOP_MARGIN_S
        while running := [child for child in children if child.pid]:
            if monotonic() > until:
                for child in running:
                    log.error("process_killed", process=child.name, waited_s=within_s + STOP_MARGIN_S)
                    child.signal(signal.SIGKILL)
            self._wait(min(VALKEY_CHECK_S, max(0.0, until - monotonic())))

    def _wait(self, timeout_s: float) -> None:
        """Handle what arrives within ``timeout_s`` while the children stop."""
        for key, events in self._selector.select(timeout_s or VALKEY_CHECK_S):
            if key.data is None:
                self._signals.clear_wakeup()
                continue
            for message in key.data.exchange(events):
                self._handle_message(key.data, message)
        for child in self._children:
            if child.reap() is not None:
                child.close_socket()
        self._reports.answer_late()
