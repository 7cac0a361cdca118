"""The packed connection for mutations: all waiting commands leave in one write, and replies come back in order.

Why not redis-py's pool or Pipeline: a pooled connection serves one command at a time, and ``Pipeline`` costs about
twice the Python of a packed write. Nothing is retried here: a mutation whose reply was lost is *indeterminate*, and
only its idempotency key may resolve it. (redis-py 8 retries each command ten times by default, EVALSHA too: behind a
proxy that dropped one reply, an INCR ran twice without any error.)

At most ``MAX_IN_FLIGHT`` commands are in flight. Redis answers all commands that it has read in one turn of its event
loop, and a longer turn starves the readers of the log (256 in flight: a turn of 15 ms, and the tail never catches up;
32: 5 ms)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import hiredis
import structlog

from engine.errors import CalloutError, Indeterminate, Unavailable
from engine.process.loops import not_cancelled
from engine.store.error_replies import ErrorReply, parse_error_reply
from engine.store.pending_call import PendingCall, ZoneGate
from engine.store.replica_wait import HeldReplies, ReplicaWait

MAX_IN_FLIGHT = 32
CALL_TIMEOUT_S = 5.0
"""How long a command may take, waiting included, until it fails."""
MAX_QUEUED = 20_000
"""The most commands that may wait. Further commands fail as ``unavailable`` at once instead of after the deadline."""

_NOT_PRIMARY_REPLIES = ("READONLY", "MASTERDOWN")

log = structlog.get_logger(__name__)

_pack_command = cast("Callable[[tuple[str | bytes | int | float, ...]], bytes]", hiredis.pack_command)


class Pipeline(asyncio.Protocol):
    """One packed connection, which reconnects by itself.

    ``connect`` reaches the server and authenticates; ``prepare`` runs on each new connection before any waiting
    mutation; ``demoted`` is called when the server replies that it is not the primary. ``replica_wait`` ends each write
    with a reply that waits for the replicas.
    """

    def __init__(
        self,
        connect: Callable[[Pipeline], Awaitable[None]],
        prepare: Callable[[Pipeline], Awaitable[None]],
        demoted: Callable[[], None] = lambda: None,
        replica_wait: ReplicaWait | None = None,
    ) -> None:
        self._connect = connect
        self._prepare = prepare
        self._demoted = demoted
        self.replica_wait = replica_wait
        self.when_silent: Callable[[], None] = lambda: None
        """Called when a command got no reply within its time: another server may have taken over."""
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[PendingCall] = deque()
        self._sent: deque[PendingCall] = deque()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._ready = False
        self._flushing = False
        self._lost = asyncio.Event()
        self._abandoned = False
        self._runner: asyncio.Task[None] | None = None

    @property
    def is_up(self) -> bool:
        """Whether commands can be sent now."""
        return self._ready

    async def open(self, *, keeps_trying: bool = False) -> None:
        """Connect, and reconnect until ``close``. Raises Unavailable if the first connection fails, unless the pipeline
        ``keeps_trying``."""
        try:
            await self._connect_once()
        except (OSError, CalloutError, ErrorReply) as error:
            if not keeps_trying:
                raise Unavailable(f"Redis cannot be reached: {error}") from error
        self._runner = asyncio.create_task(self._reconnect_forever(), name="pipeline")

    async def close(self) -> None:
        """Disconnect. Commands that were not sent fail as unavailable, commands in flight as indeterminate."""
        if self._runner:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._runner
        self.abandon()

    def abandon(self) -> None:
        """Disconnect for good, because the server has ended: all commands fail at once, also those that come later."""
        self._abandoned = True
        if self._runner:
            self._runner.cancel()
        self.disconnect()
        self._fail_calls_in_flight()
        self._fail_waiting(float("inf"))

    def submit(
        self, *command: str | bytes | int | float, waits: bool = False, zone: ZoneGate | None = None
    ) -> asyncio.Future[Any]:
        """Queue one command for the next write. Return a future that gets the raw reply or a typed error. With
        ``waits``, the future gets the reply when all replicas have what was written, else Indeterminate. If ``zone`` is
        closed before the command is sent, the future gets Unavailable: the command waited for a connection, which may
        lead to a Redis of an older state, whose epoch has the same name.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._abandoned or len(self._waiting) >= MAX_QUEUED:
            refusal = "Redis has ended" if self._abandoned else "too much is waiting for Redis"
            future.set_exception(Unavailable(refusal))
            return future
        call = PendingCall(_pack_command(command), future, sent_at=self._loop.time(), waits=waits, zone=zone)
        self._waiting.append(call)
        if not self._flushing and self._ready:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    def submit_urgent(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Send one command now, ahead of those that wait: for ``prepare``, before the connection is open to other
        callers, and for connections with a single user.
        """
        call = PendingCall(_pack_command(command), self._loop.create_future(), sent_at=self._loop.time())
        if self._transport is None:
            call.future.set_exception(Unavailable("no connection"))
            return call.future
        self._sent.append(call)
        self._transport.write(call.packed)
        return call.future

    def _flush(self) -> None:
        """Send waiting commands in one write, as many as ``MAX_IN_FLIGHT`` allows."""
        self._flushing = False
        room = MAX_IN_FLIGHT - len(self._sent)
        if not self._ready or self._transport is None or room <= 0:
            return
        batch: list[bytes] = []
        held: HeldReplies | None = None
        now = self._loop.time()
        while self._waiting and len(batch) < room:
            call = self._waiting.popleft()
            if call.future.done():
                continue
            if call.zone is not None and not call.zone.open:
                call.future.set_exception(Unavailable(f"the zone is closed: {call.zone.why}"))
                continue
            call.sent_at = now
            if call.waits and self.replica_wait:
                call.held = held = held or HeldReplies(self.replica_wait.replicas)
            batch.append(call.packed)
            self._sent.append(call)
        if held and self.replica_wait:
            self._sent.append(PendingCall(self.replica_wait.probe, held.probed, sent_at=now))
            self._sent.append(PendingCall(self.replica_wait.wait, held.counted, sent_at=now))
            batch += (self.replica_wait.probe, self.replica_wait.wait)
        if batch:
            self._transport.write(b"".join(batch))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport. ``prepare`` uses it before the connection is open to other callers."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Match replies with the calls in flight, in order."""
        self._reader.feed(data)
        while self._sent:
            try:
                reply = self._reader.gets()
            except hiredis.ProtocolError as error:
                log.error("redis_speaks_nonsense", error=str(error))
                return self.disconnect()
            if reply is False:
                break
            call = self._sent.popleft()
            future = call.future
            if not future.done():
                if isinstance(reply, hiredis.ReplyError):
                    future.set_exception(parse_error_reply(str(reply)))
                    if str(reply).startswith(_NOT_PRIMARY_REPLIES):
                        self.disconnect()  # the address may lead to another server by now
                        self._demoted()
                elif call.held:
                    call.held.hold(future, reply)
                else:
                    future.set_result(reply)
        if self._waiting and self._ready:
            self._flush()

    def disconnect(self) -> None:
        """Close this connection. The pipeline then connects to the server that answers at the address now."""
        if self._transport:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls in flight as indeterminate. Calls that were not sent wait for the next connection, up to their
        deadline.
        """
        self._fail_calls_in_flight()

    def _fail_calls_in_flight(self) -> None:
        self._ready = False
        self._transport = None
        sent, self._sent = self._sent, deque()
        for call in sent:
            if not call.future.done():
                call.future.set_exception(Indeterminate("the connection to Redis was lost"))
        self._lost.set()

    # Reconnecting

    async def _connect_once(self) -> None:
        """Connect to Redis once and make the connection ready for commands. Raises Unavailable."""
        self._reader = hiredis.Reader()
        self._lost.clear()
        try:
            await self._connect(self)
            async with asyncio.timeout(CALL_TIMEOUT_S):
                await self._prepare(self)
            if self._lost.is_set():  # lost between the last reply to prepare and this line
                raise Unavailable("the connection to Redis was lost")
        except (OSError, CalloutError, ErrorReply) as error:  # TimeoutError is an OSError
            # If this connection stayed open, its late replies would be matched with calls of the next one.
            if self._transport:
                self._transport.abort()
            self._fail_calls_in_flight()
            raise Unavailable(str(error) or "Redis does not answer") from error
        self._ready = True
        self._flush()

    async def _reconnect_forever(self) -> None:
        while not_cancelled():
            await self._expire_while_up()
            await self._reconnect()

    async def _reconnect(self) -> None:
        """Try to connect until it succeeds; the pause between two attempts doubles up to one second."""
        pause = 0.05
        while not_cancelled():
            try:
                await self._connect_once()
            except (OSError, CalloutError, ErrorReply) as error:
                log.warning("redis_away", error=str(error), retry_s=round(pause, 2))
                self._fail_waiting(CALL_TIMEOUT_S)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                log.info("redis_back")
                return

    async def _expire_while_up(self) -> None:
        """Wait until the connection is lost; meanwhile fail the calls that are older than the deadline.

        A server process that is suspended does not close its connection. The commands in flight may still run, so they
        fail as *indeterminate*, but stay in the queue so that later replies are matched in order. Unsent commands fail
        as *unavailable*.
        """
        while not self._lost.is_set() and not_cancelled():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), 0.5)
            limit = self._loop.time() - CALL_TIMEOUT_S
            for call in self._sent:
                if call.sent_at > limit:
                    break
                if not call.future.done():
                    call.future.set_exception(Indeterminate("Redis does not answer"))
                    self.when_silent()
            self._fail_waiting(CALL_TIMEOUT_S)

    def _fail_waiting(self, age_s: float) -> None:
        """Fail the unsent calls that are older than ``age_s`` as unavailable; infinity means all of them."""
        limit = self._loop.time() - age_s if age_s != float("inf") else float("inf")
        while self._waiting and (self._waiting[0].sent_at <= limit or self._waiting[0].future.done()):
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(Unavailable("Redis cannot be reached"))
