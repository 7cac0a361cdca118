"""The response with a stored file. Its headers prevent a browser from running the file as a page or a script."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.types import Receive, Scope, Send

from engine.files.file_rows import FileRow
from server.http.responses import Header, Response

SAFE_HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    # so that a user who has lost the right to read the file cannot read it from a cache
    (b"cache-control", b"private, no-cache"),
    (b"content-disposition", b"inline"),
)


class FileResponse:
    """The response with a file. It implements ``StreamingResponse``."""

    def __init__(
        self, row: FileRow, known_tags: bytes, open_blob: Callable[[], Awaitable[AsyncIterator[bytes]]]
    ) -> None:
        self._row, self._open_blob = row, open_blob
        self._tag = f'"{row.sha256}"'.encode()
        self._is_known = self._tag in [tag.strip().removeprefix(b"W/") for tag in known_tags.split(b",")]

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header], /) -> Response | None:
        """Send the file. Send only the headers for HEAD, and if the client already has the file. Raises Unavailable
        before the first byte.
        """
        headers = [*SAFE_HEADERS, *extra, (b"etag", self._tag)]
        has_body = scope["method"] != "HEAD" and not self._is_known
        pieces = await self._open_blob() if has_body else None
        if not self._is_known:
            headers += [
                (b"content-type", self._row.media.encode()),
                (b"content-length", str(self._row.bytes).encode()),
            ]
        await send({"type": "http.response.start", "status": 304 if self._is_known else 200, "headers": headers})
        if pieces is not None:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return None
