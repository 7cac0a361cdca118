"""The event streams of links to jobs (`GET /v1/shares/{token}`).

A stream reads its job every ``READ_EVERY_S`` seconds and sends the changes. A job has few links, and few people follow
a link. (Rejected: a session of the hub, which the relay wakes. A session belongs to a user, and its events follow from
roles and channels, which a person without an account does not have. The content of a link would then be computed at two
places.)
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from time import monotonic

import msgspec
from starlette.types import Receive, Scope, Send

from engine.domain import shared_jobs
from engine.domain.shared_jobs import SharedJob
from engine.errors import NotFound, RateLimited, Unavailable
from engine.runtime import Engine
from server.gateway import sse
from server.gateway.event_stream import wait_for_disconnect
from server.http.responses import Header

READ_EVERY_S = 2.0
REPEAT_EVERY_S = 15.0
"""The time without a change after which the object is sent again, because the age of the position and the expected
arrival have changed, and so that a proxy does not close the connection.
"""
MAX_STREAMS_OF_LINK, MAX_STREAMS_OF_PROCESS = 20, 1_000
"""The most streams of one link at one process, and of all links."""


class ShareStreams:
    """The streams of one process. ``is_draining`` returns whether the process is about to stop."""

    def __init__(self, is_draining: Callable[[], bool]) -> None:
        self.is_draining = is_draining
        self._open: Counter[str] = Counter()

    def open(self, engine: Engine, token: str, first: SharedJob) -> ShareStream:
        """Return the stream of the link with ``token``, which begins with ``first``."""
        return ShareStream(self, engine, token, first)

    def enter(self, token: str) -> None:
        """Count a stream that begins. Raises RateLimited if this link has too many streams, Unavailable if the process
        has too many.
        """
        if self._open[token] >= MAX_STREAMS_OF_LINK:
            raise RateLimited("Too many follow this link", retry_after=REPEAT_EVERY_S)
        if self._open.total() >= MAX_STREAMS_OF_PROCESS:
            raise Unavailable("Too many follow links at this node")
        self._open[token] += 1

    def leave(self, token: str) -> None:
        """Count a stream that has ended."""
        self._open[token] -= 1
        if not self._open[token]:
            del self._open[token]


class ShareStream:
    """The response of one stream."""

    def __init__(self, streams: ShareStreams, engine: Engine, token: str, first: SharedJob) -> None:
        self._streams = streams
        self._engine = engine
        self._token = token
        self._shown = first
        self._shown_at = monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header]) -> None:
        """Send the response until the client, the link or the process ends it. HEAD gets the headers only. Raises the
        errors of ``ShareStreams.enter``.
        """
        is_head = scope["method"] == "HEAD"
        if not is_head:
            self._streams.enter(self._token)
        headers = [(b"content-type", sse.MEDIA_TYPE), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]
        disconnect = asyncio.create_task(wait_for_disconnect(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [*headers, *extra]})
            if not is_head:
                await self._send_until_end(send, disconnect)
        finally:
            if not is_head:
                self._streams.leave(self._token)
            disconnect.cancel()
            await asyncio.gather(disconnect, return_exceptions=True)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_until_end(self, send: Send, disconnect: asyncio.Task[None]) -> None:
        block: bytes | None = b"retry: 3000\n" + _block(self._shown)
        while block is not None:
            if block:
                await send({"type": "http.response.body", "body": block, "more_body": True})
            if (await asyncio.wait((disconnect,), timeout=READ_EVERY_S))[0] or self._streams.is_draining():
                return
            block = await self._next_block()
        await send({"type": "http.response.body", "body": b"event: end\ndata: {}\n\n", "more_body": True})

    async def _next_block(self) -> bytes | None:
        """Return the next event as bytes; b"" if nothing has changed or the job cannot be read now; None if the link
        has ended.
        """
        try:
            shared = await shared_jobs.read_shared_job(self._engine, self._token)
        except NotFound:
            return None
        except Unavailable:
            return b""
        if _changing_part(shared) == _changing_part(self._shown) and monotonic() - self._shown_at < REPEAT_EVERY_S:
            return b""
        self._shown, self._shown_at = shared, monotonic()
        return _block(shared)


def _changing_part(shared: SharedJob) -> tuple[object, ...]:
    """Return the members whose change is worth an event: not those that change with the clock."""
    position = shared.position
    return shared.phase, shared.says, position and (position.at, position.stale)


def _block(shared: SharedJob) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode(shared)
