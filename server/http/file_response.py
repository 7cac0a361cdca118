"""The response with a stored file. Its headers prevent a browser from running the file as a page or a script."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.types import Receive, Scope, Send

from engine.files.file_rows import FileRow
from engine.files.transfer_slots import TransferSlots
from server.http.paced_body import send_pieces
from server.http.responses import Header, Response

SAFE_HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", b"sandbox; default-src 'none'"),
    # so that a user who has lost the right to read the file cannot read it from a cache
    (b"cache-control", b"private, no-cache"),
    (b"content-disposition", b"inline"),
)


class FileResponse:
    """The response with a file. It implements ``StreamingResponse``. ``known_tags`` is the header ``If-None-Match``."""

    def __init__(
        self,
        row: FileRow,
        known_tags: bytes,
        open_blob: Callable[[], Awaitable[AsyncGenerator[bytes]]],
        slots: TransferSlots,
        caller: str,
    ) -> None:
        self._row, self._open_blob, self._slots, self._caller = row, open_blob, slots, caller
        self._tag = f'"{row.sha256}"'.encode()
        self._is_known = is_tag_known(self._tag, known_tags)

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header], /) -> Response | None:
        """Send the file. Send only the headers for HEAD, and if the client already has the file. Raises Unavailable and
        RateLimited before the first byte, and ClientDisconnect.
        """
        headers = [*SAFE_HEADERS, *extra, (b"etag", self._tag)]
        if self._is_known:
            await _send_head(send, 304, headers)
            return None
        headers += [(b"content-type", self._row.media.encode()), (b"content-length", str(self._row.bytes).encode())]
        if scope["method"] == "HEAD":
            await _send_head(send, 200, headers)
            return None
        with self._slots.take(self._caller) as transfer:
            pieces = await self._open_blob()
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send_pieces(scope, receive, send, pieces, transfer)
        return None


def is_tag_known(tag: bytes, known_tags: bytes) -> bool:
    """Return whether the header ``If-None-Match`` names the tag, or every tag by ``*`` (RFC 9110, 13.1.2)."""
    known = [each.strip().removeprefix(b"W/") for each in known_tags.split(b",")]
    return known == [b"*"] or tag in known


async def _send_head(send: Send, status: int, headers: list[Header]) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
