"""A response of many JSON objects, one a line (NDJSON), sent while they are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send

from server.http.responses import Header

MEDIA_TYPE = b"application/x-ndjson"
CHUNK_BYTES = 64 * 1024


class NdjsonResponse:
    """A response whose lines are read from ``lines`` while the response is sent. If reading fails, the connection ends
    without the last chunk, so that the client does not take a part for the whole.
    """

    def __init__(self, lines: AsyncIterator[Any]) -> None:
        self._lines = lines

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header]) -> None:
        """Send the response. An error before the first chunk is raised, so that the client gets a problem object."""
        waiting, is_begun = bytearray(), False
        async for line in self._lines:
            waiting += msgspec.json.encode(line) + b"\n"
            if len(waiting) >= CHUNK_BYTES:
                await self._send(send, waiting, extra, begins=not is_begun, has_more=True)
                is_begun, waiting = True, bytearray()
        await self._send(send, waiting, extra, begins=not is_begun, has_more=False)

    async def _send(self, send: Send, body: bytearray, extra: list[Header], *, begins: bool, has_more: bool) -> None:
        if begins:
            headers = [*extra, (b"content-type", MEDIA_TYPE), (b"cache-control", b"no-store")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(body), "more_body": has_more})
