"""Requests for an upgrade that are refused."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus

from server.gateway.transport import ATTACH_EXTENSION
from tests.server.gateway.conftest import JSON_SUBPROTOCOL, Node, serve_app
from tests.support.wait import wait_until

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
    connection would remain open forever.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write((UPGRADE_REQUEST + more).encode())
    async with asyncio.timeout(10):
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    writer.close()


def changed_request(old: str, new: str) -> str:
    """Return the upgrade request with ``old`` replaced by ``new``."""
    assert old in UPGRADE_REQUEST
    return UPGRADE_REQUEST.replace(old, new) + "\r\n"


KEY_HEADER = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
VERSION_HEADER = "Sec-WebSocket-Version: 13\r\n"


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        pytest.param(changed_request(KEY_HEADER, ""), 400, id="no key"),
        pytest.param(changed_request(KEY_HEADER, KEY_HEADER * 2), 400, id="two keys"),
        pytest.param(changed_request("AAAA==", "AA=="), 400, id="a short key"),
        pytest.param(changed_request("AAAA==", "AAAAAA"), 400, id="a long key"),
        pytest.param(changed_request("AAAA==", "A-A_=="), 400, id="a key in another alphabet"),
        pytest.param(changed_request(VERSION_HEADER, ""), 400, id="no version"),
        pytest.param(changed_request("13", "8"), 400, id="another version"),
        pytest.param(changed_request(VERSION_HEADER, VERSION_HEADER * 2), 400, id="two versions"),
        pytest.param(
            changed_request(KEY_HEADER, KEY_HEADER + "Origin: http://x\r\nOrigin: http://y\r\n"), 400, id="two origins"
        ),
        pytest.param(changed_request("/v1/ws", "/v1/ws?ticket=" + "x" * 10_000), 400, id="a long target"),
        pytest.param(changed_request("GET", "POST"), 405, id="another method"),
        pytest.param(changed_request("HTTP/1.1", "HTTP/1.0"), 505, id="another version of HTTP"),
        pytest.param(changed_request("Host: x", "Host: \r\nOrigin: http://evil"), 403, id="an origin without a host"),
        pytest.param(changed_request("Host: x", "Host: y\r\nOrigin: http://x"), 403, id="an origin of another host"),
        pytest.param(changed_request("/v1/ws", "/v1/w%73"), 101, id="an escaped path"),
        pytest.param(changed_request("Host: x", "Host: x\r\nOrigin: http://x"), 101, id="an origin of this host"),
        pytest.param(changed_request("Upgrade: websocket", "UPGRADE:  WebSocket"), 101, id="upper case"),
        pytest.param(changed_request("Connection: Upgrade", "Connection: keep-alive, upgrade"), 101, id="keep-alive"),
        pytest.param(changed_request(JSON_SUBPROTOCOL, f"chat, {JSON_SUBPROTOCOL}"), 101, id="two subprotocols"),
        pytest.param(
            changed_request(JSON_SUBPROTOCOL, f"chat\r\nSec-WebSocket-Protocol: {JSON_SUBPROTOCOL}"),
            101,
            id="in two headers",
        ),
    ],
)
async def test_a_request_is_a_handshake_or_is_refused(node: Node, request_text: str, status: int) -> None:
    """A request that is no handshake of RFC 6455, or comes from another origin, is refused with its status, and its
    connection is closed. A correct handshake in an unusual form is accepted.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(request_text.encode())
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        if status != 101:
            await reader.read()
    assert len(node.gateway.sessions) == (status == 101)
    writer.close()


async def test_the_response_proves_that_the_key_was_read(node: Node) -> None:
    """The response contains the digest of the key, as in the example of RFC 6455, and the chosen subprotocol."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(changed_request("AAAAAAAAAAAAAAAAAAAAAA==", "dGhlIHNhbXBsZSBub25jZQ==").encode())
    async with asyncio.timeout(10):
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in lines
    assert f"Sec-WebSocket-Protocol: {JSON_SUBPROTOCOL}" in lines
    writer.close()


async def test_a_client_that_leaves_during_the_handshake_leaves_nothing() -> None:
    """A client that disconnects while the application still checks its handshake gets no session."""
    lost = asyncio.Event()

    async def slow_app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        handshake = scope["extensions"][ATTACH_EXTENSION].__self__
        await wait_until(lambda: handshake._lost)
        try:
            await send({"type": "websocket.accept"})
        finally:
            lost.set()

    async with serve_app(slow_app) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(changed_request("Host: x", "Host: x").encode())
        await writer.drain()
        writer.transport.abort()
        async with asyncio.timeout(10):
            await lost.wait()


async def test_a_bug_in_the_application_is_500() -> None:
    """An exception of the application is answered with 500 without its text, and is logged."""

    async def broken_app(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("secret")

    async with serve_app(broken_app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(changed_request("Host: x", "Host: x").encode())
        with capture_logs() as logged:
            async with asyncio.timeout(10):
                answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 500 ") and b"secret" not in answer
        assert [line["event"] for line in logged] == ["handshake_failed"]
        writer.close()


async def test_a_refused_upgrade_is_not_logged_as_an_error(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A refused upgrade gets its response, and no error is logged."""
    with caplog.at_level(logging.ERROR), pytest.raises(InvalidStatus) as refused:
        async with node.open_socket(subprotocols=["chat"]):
            pass
    assert refused.value.response.status_code == 422
    assert caplog.messages == []
