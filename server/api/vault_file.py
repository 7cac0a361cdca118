"""The ZIP of a receipt as a response. It is sent file by file, so that only one photo is in memory."""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from engine.runtime import Engine
from engine.vault import package
from engine.vault.package import PackageWriter
from engine.vault.receipts import Receipt, read_blob, signed_photos
from server.http.responses import Header


class VaultFile:
    """The response that sends the ZIP of a receipt."""

    def __init__(self, engine: Engine, receipt: Receipt) -> None:
        self._engine = engine
        self._receipt = receipt

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header], /) -> None:
        """Send the file; for HEAD only the headers."""
        row, evidence = self._receipt.row, self._receipt.evidence
        disposition = f'attachment; filename="{evidence.id}.zip"'.encode()
        headers = [
            (b"content-type", b"application/zip"),
            (b"content-disposition", disposition),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, *extra]})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        writer = PackageWriter()
        await _send_piece(send, writer.add(package.RECEIPT_FILE, package.encode_evidence(evidence)))
        image = await read_blob(self._engine, row.image) if row.image else None
        if image is not None:
            await _send_piece(send, writer.add(package.image_file(row.image_kind), image))
        if row.record is not None:
            await _send_piece(send, writer.add(package.RECORD_FILE, row.record.encode()))
            for digest in signed_photos(row.record):
                photo = await read_blob(self._engine, digest)
                if photo is not None:
                    name = package.photo_file(digest, photo)
                    await _send_piece(send, await asyncio.to_thread(writer.add, name, photo))
        await send({"type": "http.response.body", "body": writer.finish()})


async def _send_piece(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
