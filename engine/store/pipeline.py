"""The packed mutation connection: what is waiting goes out in one write, replies come back in order.

Why not redis-py's pool or Pipeline: a pooled connection serves one command at a time, and ``Pipeline`` costs about
twice the Python of a packed write. Nothing is retried here: a mutation whose reply was lost is *indeterminate*, and
only its request key may resolve it. (redis-py 8 retries each command ten times by default, EVALSHA too: behind a proxy
that dropped one reply, an INCR ran twice, and nobody was told.)

At most ``WINDOW`` commands are on their way at once: Redis answers what it has read in one turn, and a longer turn
starves the readers of the log (256 at once: a turn of 15 ms, and the tail never catches up; 32: 5 ms).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

import hiredis
import structlog

from engine.errors import UNAVAILABLE_REPLIES, CalloutError, Indeterminate, Unavailable
from engine.process.loops import not_cancelled

WINDOW = 32
DEADLINE_S = 5.0
QUEUE = 20_000
"""Commands that may wait. Beyond it callers hear ``unavailable`` at once rather than after the deadline."""

_NOT_LOADED = "ERR Function not found"
_NO_PRIMARY = ("READONLY", "MASTERDOWN")

log = structlog.get_logger(__name__)

_pack = cast("Callable[[tuple[str | bytes | int | float, ...]], bytes]", hiredis.pack_command)


class ServerSaid(Exception):
    """Redis answered with an error that is neither a reply word nor an unavailability: a bug of ours."""


class NotLoaded(Unavailable):
    """The function is not there: another release put its library in the place of ours, or somebody flushed them all.
    Nothing was done.
    """


class _Call:
    __slots__ = ("future", "packed", "sent_at")

    def __init__(self, packed: bytes, future: asyncio.Future[Any]) -> None:
        self.packed = packed
        self.future = future
        self.sent_at = 0.0


class Pipeline(asyncio.Protocol):
    """One connection that packs. ``connect`` reaches the server and authenticates; ``prepare`` runs on each new
    connection before any waiting mutation does; ``demoted`` is called when the server says that it is no primary.
    """

    def __init__(
        self,
        connect: Callable[[Pipeline], Awaitable[None]],
        prepare: Callable[[Pipeline], Awaitable[None]],
        demoted: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect = connect
        self._prepare = prepare
        self._demoted = demoted
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Call] = deque()
        self._sent: deque[_Call] = deque()
        self._reader = hiredis.Reader()
        self._transport: asyncio.Transport | None = None
        self._ready = False
        self._flushing = False
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def up(self) -> bool:
        """Whether commands can leave now."""
        return self._ready

    async def open(self) -> None:
        """Connect and keep connected until ``close``. Raises Unavailable when the first connection fails."""
        try:
            await self._join()
        except (OSError, CalloutError, ServerSaid) as error:
            raise Unavailable(f"Redis cannot be reached: {error}") from error
        self._keeper = asyncio.create_task(self._keep(), name="pipeline")

    async def close(self) -> None:
        """Stop. What was not sent fails as unavailable, what was sent as indeterminate."""
        if self._keeper:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        if self._transport:
            self._transport.abort()
        self._drop()
        self._withdraw(float("inf"))

    def submit(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Queue one command for the next write; the future holds the raw reply or a typed error."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if len(self._waiting) >= QUEUE:
            future.set_exception(Unavailable("too much is waiting for Redis"))
            return future
        call = _Call(_pack(command), future)
        call.sent_at = self._loop.time()
        self._waiting.append(call)
        if not self._flushing and self._ready:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    def urgent(self, *command: str | bytes | int | float) -> asyncio.Future[Any]:
        """Send now, ahead of what waits: for ``prepare``, while the connection is not yet open to others, and for who
        has a connection to himself.
        """
        call = _Call(_pack(command), self._loop.create_future())
        call.sent_at = self._loop.time()
        if self._transport is None:
            call.future.set_exception(Unavailable("no connection"))
            return call.future
        self._sent.append(call)
        self._transport.write(call.packed)
        return call.future

    def _flush(self) -> None:
        self._flushing = False
        room = WINDOW - len(self._sent)
        if not self._ready or self._transport is None or room <= 0:
            return
        batch: list[bytes] = []
        now = self._loop.time()
        while self._waiting and len(batch) < room:
            call = self._waiting.popleft()
            if call.future.done():
                continue
            call.sent_at = now
            batch.append(call.packed)
            self._sent.append(call)
        if batch:
            self._transport.write(b"".join(batch))

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport: ``prepare`` speaks on it before it is open to others."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Match replies with the calls on their way, in order."""
        self._reader.feed(data)
        while self._sent:
            try:
                reply = self._reader.gets()
            except hiredis.ProtocolError as error:
                log.error("redis_speaks_nonsense", error=str(error))
                return self.hang_up()
            if reply is False:
                break
            future = self._sent.popleft().future
            if not future.done():
                if isinstance(reply, hiredis.ReplyError):
                    future.set_exception(_error(str(reply)))
                    if str(reply).startswith(_NO_PRIMARY):
                        self.hang_up()  # the name may lead to another by now
                        self._demoted()
                else:
                    future.set_result(reply)
        if self._waiting and self._ready:
            self._flush()

    def hang_up(self) -> None:
        """Leave this connection and look again who answers to the name."""
        if self._transport:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """What was on its way is unknown; what waits goes on waiting, up to its deadline."""
        self._drop()

    def _drop(self) -> None:
        self._ready = False
        self._transport = None
        sent, self._sent = self._sent, deque()
        for call in sent:
            if not call.future.done():
                call.future.set_exception(Indeterminate("the connection to Redis was lost"))
        self._lost.set()

    # keeping it

    async def _join(self) -> None:
        self._reader = hiredis.Reader()
        self._lost.clear()
        try:
            await self._connect(self)
            async with asyncio.timeout(DEADLINE_S):
                await self._prepare(self)
            if self._lost.is_set():  # after the last reply to prepare, before we heard of it
                raise Unavailable("the connection to Redis was lost")
        except (OSError, CalloutError, ServerSaid) as error:  # TimeoutError is an OSError
            # Left open, its late replies would be taken for those of the connection that follows.
            if self._transport:
                self._transport.abort()
            self._drop()
            raise Unavailable(str(error) or "Redis does not answer") from error
        self._ready = True
        self._flush()

    async def _keep(self) -> None:
        while not_cancelled():
            await self._expire_while_up()
            await self._rejoin()

    async def _rejoin(self) -> None:
        pause = 0.05
        while not_cancelled():
            try:
                await self._join()
            except (OSError, CalloutError, ServerSaid) as error:
                log.warning("redis_away", error=str(error), retry_s=round(pause, 2))
                self._withdraw(DEADLINE_S)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 1.0)
            else:
                log.info("redis_back")
                return

    async def _expire_while_up(self) -> None:
        """Wait for the loss of the connection; meanwhile let nobody wait longer than the deadline.

        A server that is stopped (not gone) keeps the connection: its commands may yet run, so they are
        *indeterminate* and keep their place in the reply order, while those not sent are withdrawn.
        """
        while not self._lost.is_set() and not_cancelled():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), 0.5)
            limit = self._loop.time() - DEADLINE_S
            for call in self._sent:
                if call.sent_at > limit:
                    break
                if not call.future.done():
                    call.future.set_exception(Indeterminate("Redis does not answer"))
            self._withdraw(DEADLINE_S)

    def _withdraw(self, age_s: float) -> None:
        limit = self._loop.time() - age_s if age_s != float("inf") else float("inf")
        while self._waiting and (self._waiting[0].sent_at <= limit or self._waiting[0].future.done()):
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(Unavailable("Redis cannot be reached"))


def _error(text: str) -> Exception:
    if text.startswith(_NOT_LOADED):
        return NotLoaded(text)
    if text.partition(" ")[0] in UNAVAILABLE_REPLIES:
        return Unavailable(text)
    return ServerSaid(text)
