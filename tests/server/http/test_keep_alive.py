"""How long an idle HTTP connection stays open."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from server.serve import RunningServer

CLIENT_IDLE_S = 5.0
"""The default idle time after which httpx closes a connection, and also uvicorn's default."""


async def test_an_idle_connection_outlives_the_idle_timeout_of_clients(site: RunningServer) -> None:
    """A connection that was idle for more than 5 s answers the next request. If the server closed it first, a request
    that is sent at that moment would fail without an answer.
    """
    address = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        for pause_s in (0.0, CLIENT_IDLE_S + 1):
            await asyncio.sleep(pause_s)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                await reader.readexactly(length)
            assert head.startswith(b"HTTP/1.1 200 ")
    finally:
        writer.close()
        await writer.wait_closed()
