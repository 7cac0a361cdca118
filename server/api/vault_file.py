"""The ZIP of a receipt as a response. It is sent piece by piece, as fast as the client reads."""

from __future__ import annotations

from starlette.types import Receive, Scope, Send

from engine.runtime import Engine
from engine.vault.package_writer import write_package
from engine.vault.receipts import Receipt
from server.http.paced_body import send_pieces
from server.http.responses import Header


class VaultFile:
    """The response that sends the ZIP of a receipt to ``caller``."""

    def __init__(self, engine: Engine, receipt: Receipt, caller: str) -> None:
        self._engine, self._receipt, self._caller = engine, receipt, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header], /) -> None:
        """Send the file; for HEAD only the headers. Raises Unavailable and RateLimited before that, and
        ClientDisconnect.
        """
        disposition = f'attachment; filename="{self._receipt.evidence.id}.zip"'.encode()
        headers = [
            (b"content-type", b"application/zip"),
            (b"content-disposition", disposition),
            (b"cache-control", b"no-store"),
        ]
        start = {"type": "http.response.start", "status": 200, "headers": [*headers, *extra]}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return
        with self._engine.downloads.take(self._caller) as transfer:
            await send(start)
            await send_pieces(scope, receive, send, write_package(self._engine, self._receipt), transfer)
