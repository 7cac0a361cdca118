"""Requests for an upgrade that are refused."""

from __future__ import annotations

import asyncio
import logging

import pytest
from websockets.exceptions import InvalidStatus

from tests.server.gateway.conftest import JSON_SUBPROTOCOL, Node

UPGRADE_REQUEST = (
    "GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    f"Sec-WebSocket-Protocol: {JSON_SUBPROTOCOL}\r\n"
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
    """An upgrade that the handshake cannot parse gets 400, and its connection is closed. Otherwise the unread
    connection would remain open for ever.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write((UPGRADE_REQUEST + more).encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_a_refused_upgrade_is_not_logged_as_an_error(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A refused upgrade gets its response, and no error is logged."""
    with caplog.at_level(logging.ERROR), pytest.raises(InvalidStatus) as refused:
        async with node.open_socket(subprotocols=["chat"]):
            pass
    assert refused.value.response.status_code == 422
    assert caplog.messages == []
