"""Requests for an upgrade that never become one."""

from __future__ import annotations

import asyncio
import logging

import pytest
from websockets.exceptions import InvalidStatus

from tests.server.gateway.conftest import JSON, Node

ASK = (
    "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {JSON}\r\n"
)


@pytest.mark.parametrize(
    "more",
    [
        pytest.param("Content-Length: 5\r\n\r\nhello", id="a body"),
        pytest.param("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="a body in chunks"),
        pytest.param("".join(f"X-{n}: y\r\n" for n in range(200)) + "\r\n", id="many headers"),
        pytest.param("X: " + "y" * 10_000 + "\r\n\r\n", id="a long header"),
    ],
)
async def test_a_request_that_the_handshake_cannot_read_is_ended(node: Node, more: str) -> None:
    """It is answered 400 and hung up on: a connection that nobody reads would be held for ever."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write((ASK + more).encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_a_refused_upgrade_is_no_error_of_ours(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever may not come in is answered, and fills no log with errors."""
    with caplog.at_level(logging.ERROR), pytest.raises(InvalidStatus) as refused:
        async with node.raw(subprotocols=["chat"]):
            pass
    assert refused.value.response.status_code == 422
    assert caplog.messages == []
