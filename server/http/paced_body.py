"""Send a long body piece by piece, as fast as the client reads.

The next piece is read only when the connection accepts it, so that a client that does not read uses only one piece and
the connection's buffer of 64 KiB. The connection of a client that reads nothing for ``STALL_S`` is aborted, because a
file would stay open for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from engine.errors import Unavailable
from engine.files.transfer_slots import Transfer
from server.http.http_protocol import ABORT_EXTENSION

STALL_S = 60.0
"""How long a client may take to read a piece. A slow phone reads 64 KiB in some seconds."""

log = structlog.get_logger("http")


async def send_pieces(
    scope: Scope, receive: Receive, send: Send, pieces: AsyncGenerator[bytes], transfer: Transfer
) -> None:
    """Send the body of a response that has begun. If the store fails in between, or the client stalls, the connection
    is aborted, so that no client mistakes a part for the whole body. Raises ClientDisconnect.
    """
    gone = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                if gone.done():
                    raise ClientDisconnect
                async with transfer.wait_for_client(STALL_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    except (TimeoutError, Unavailable) as error:
        log.warning("download_ended", path=scope["path"], error=repr(error))
        scope["extensions"][ABORT_EXTENSION]()
        await asyncio.wait([gone], timeout=1.0)  # wait for the disconnect, or uvicorn logs an incomplete response
        raise ClientDisconnect from error
    finally:
        gone.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
