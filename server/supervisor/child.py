"""A child of a server with several workers: one gateway, or the process of all other roles.

A child ends in order when the parent asks for it or when it gets SIGTERM. It ends at once when the parent has ended
without a message (SIGKILL): then the channel to the parent is closed, and no child may hold the port any longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from dataclasses import dataclass, replace
from functools import partial

import structlog

from engine.errors import CalloutError
from engine.process.settings import Settings
from server.process.event_loop import loop_factory
from server.process.signals import StopRequest, reload_on_signal, stop_on_signals
from server.process.start_errors import START_ERRORS, start_error_text
from server.serve import PartEnded, ProcessPlan, RunningServer, freeze_objects, run_process
from server.supervisor.messages import Failed, Ready, Report, ReportRequest, Stop
from server.supervisor.parent_channel import ParentChannel, SupervisedServer

EXIT_FAILED = 1
ORPHAN_TIMEOUT_S = 5
"""How long a child whose parent has ended may take to end. Then the kernel ends it."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ChildPlan:
    """What a child is: its name in logs and problems, its settings, and what it serves."""

    name: str
    settings: Settings
    process: ProcessPlan
    seat: int | None = None
    """The number of the gateway, from 0; None for the process of the other roles."""

    @property
    def is_gateway(self) -> bool:
        """Whether the child serves clients."""
        return self.seat is not None


def run_child(plan: ChildPlan, sock: socket.socket) -> int:
    """Run a child on the connection ``sock`` to its parent, and return its exit code."""
    structlog.contextvars.bind_contextvars(process=plan.name)
    if plan.process.loads and plan.seat is not None:
        plan.process.loads.take_seat(plan.seat)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_Child(plan).run(sock))


class _Child:
    """A running child. ``server`` is None while it starts."""

    def __init__(self, plan: ChildPlan) -> None:
        self.plan = plan
        self.server: RunningServer | None = None
        self._stop_request: StopRequest

    async def run(self, sock: socket.socket) -> int:
        """Serve until the end, and return the exit code."""
        channel = await ParentChannel.open(sock)
        with stop_on_signals((signal.SIGTERM,)) as self._stop_request:
            listening = asyncio.create_task(self._listen(channel), name="messages of the parent")
            try:
                return await self._serve(channel)
            except asyncio.CancelledError:
                if not self._stop_request.is_made:
                    raise
                if self.server is None:  # the thread of an SQLite connection would report that the event loop is closed
                    os._exit(0)
                return 0
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _serve(self, channel: ParentChannel) -> int:
        make_whole = partial(SupervisedServer, channel=channel)
        process = self.plan.process
        async with contextlib.AsyncExitStack() as stack:
            try:
                running = run_process(self.plan.settings, replace(process, make_whole=make_whole))
                self.server = await stack.enter_async_context(running)
            except START_ERRORS as error:
                is_temporary = isinstance(error, CalloutError) and error.temporary
                channel.send(Failed(start_error_text(error), is_temporary))
                return EXIT_FAILED
            stack.enter_context(reload_on_signal(self.server.engine))
            freeze_objects()
            channel.send(Ready())
            try:
                await self.server.wait_for_ended_part()
            except PartEnded as error:
                log.error("process_ends", error=str(error))
        return EXIT_FAILED

    async def _listen(self, channel: ParentChannel) -> None:
        """Handle the parent's messages until the parent has ended, then end this process at once."""
        async for message in channel.messages():
            if isinstance(message, ReportRequest):
                channel.send(self._report(message))
            elif isinstance(message, Stop):
                channel.is_whole_stop = True
                if message.is_abandoned and self.server:
                    self.server.engine.store.abandon()
                self._stop_request.make()
        self._end_as_orphan()

    def _report(self, request: ReportRequest) -> Report:
        if self.server is None:
            return Report(request.id, ["starts"])
        if request.subject == "readiness":
            return Report(request.id, self.server.health.problems())
        return Report(request.id, families=self.server.engine.metrics.families())

    def _end_as_orphan(self) -> None:
        log.error("parent_ended")
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(ORPHAN_TIMEOUT_S)
        if self.server:
            self.server.release_port()
        self._stop_request.make()
