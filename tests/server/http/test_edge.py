"""Tests of what all routes share: request ids, size and time limits, CORS, and errors without internal text."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import msgspec
import pytest
from structlog.testing import capture_logs

from engine.errors import Indeterminate, Unavailable
from engine.identity import accounts
from engine.types import DEFAULT_ZONE
from engine.zone import log
from server.http import http_protocol
from server.serve import RunningServer
from tests.server.http.client import HERE, ORIGIN, Client, code_of
from tests.server.http.conftest import Book
from tests.support.http import open_http

UPGRADE_REQUEST = (
    b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_bug_is_500_without_its_text(customer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unhandled exception is answered with 500 `internal`, without the exception's text. The server's log has an
    error entry with the request's id.
    """

    async def raise_bug(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(accounts, "read_own_user", raise_bug)
    with capture_logs() as logged:
        answer = await customer("GET", "/v1/me", X_Request_Id="req-7")
    assert code_of(answer) == (500, "internal")
    assert "secret" not in answer.text
    entry = next(line for line in logged if line["event"] == "unhandled")
    assert (entry["request_id"], entry["log_level"]) == ("req-7", "error")


@pytest.mark.parametrize(
    ("error", "status", "code"), [(Unavailable(), 503, "unavailable"), (Indeterminate(), 504, "indeterminate")]
)
async def test_failures_of_a_store_are_503_or_504(
    error: Exception, status: int, code: str, customer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure of a store is 503 `unavailable` if nothing was done, and 504 `indeterminate` if the outcome is unknown.
    Both are `temporary`: the client may repeat the request.
    """

    async def raise_error(*_: object) -> None:
        raise error

    monkeypatch.setattr(accounts, "read_own_user", raise_error)
    answer = await customer("GET", "/v1/me")
    assert code_of(answer) == (status, code)
    assert answer.json()["temporary"] is True


@pytest.mark.parametrize("request_id", ["", "two words", "x" * 65, "a/b"])
async def test_a_malformed_request_id_is_replaced(request_id: str, nobody: Client) -> None:
    """A request id that is long or has special characters is replaced by a new one, because ids are written to logs."""
    answer = await nobody("GET", "/healthz", X_Request_Id=request_id)
    assert answer.headers["x-request-id"] not in ("", request_id)


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/v1/me"])
async def test_every_answer_names_its_request(path: str, nobody: Client) -> None:
    """Each answer, also a refusal, contains the request id that the client sent."""
    answer = await nobody("GET", path, X_Request_Id="abc.DEF_1-2")
    assert answer.headers.get_list("x-request-id") == ["abc.DEF_1-2"]


async def test_a_chunked_body_has_a_maximum_size(customer: Client) -> None:
    """A chunked body, whose length is not announced, is refused with 413 as soon as it exceeds the limit."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 2_048

    answer = await customer.http.post(
        "/v1/jobs", content=chunks(), headers={"authorization": f"Bearer {customer.token}"}
    )
    assert code_of(answer) == (413, "too_large")


async def test_a_chunked_body_is_assembled(nobody: Client) -> None:
    """A small body that arrives byte by byte is decoded as a whole."""

    async def chunks() -> AsyncIterator[bytes]:
        for byte in b'{"refresh_token":"no such"}':
            yield bytes([byte])

    answer = await nobody.http.post("/v1/auth/refresh", content=chunks())
    assert code_of(answer) == (401, "unauthenticated")


async def test_the_connection_survives_a_body_that_was_too_large(site: RunningServer) -> None:
    """After a refusal with 413, the same connection serves the next request."""
    url = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    size = 300_000
    writer.write(b"POST /v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size)
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    answers = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    assert answers.count("HTTP/1.1 413") == 1
    assert answers.count("HTTP/1.1 200") == 1


async def test_an_incomplete_body_is_ignored(site: RunningServer, customer: Client, book: Book) -> None:
    """If the client closes its side before the whole body has arrived, the command does not run, even if the bytes that
    arrived are valid JSON.
    """
    url, path = urlsplit(site.url), f"/v1/jobs/{(await book(customer))['id']}"
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"POST {path}/cancel HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\nauthorization: Bearer {customer.token}"
    writer.write(head.encode() + b"\r\n\r\n{}")
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert (await customer("GET", path)).json()["job"]["status"] == "broadcasted"


async def test_another_origin_is_refused(nobody: Client) -> None:
    """CORS compares the whole origin. A similar origin is refused in the preflight request, and its answers have no
    `Access-Control-Allow-Origin`.
    """
    for origin in ("https://app.example.evil", "http://app.example", "https://APP.example", "null"):
        headers = {"Origin": origin, "Access_Control_Request_Method": "POST"}
        assert (await nobody("OPTIONS", "/v1/jobs", **headers)).status_code == 400
        answer = await nobody("GET", "/healthz", Origin=origin)
        assert "access-control-allow-origin" not in answer.headers


async def test_the_allowed_origin_may_call(nobody: Client) -> None:
    """The configured origin passes the preflight request, and may read the exposed headers of each answer, also of a
    refusal.
    """
    headers = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,if-match"}
    flight = await nobody("OPTIONS", "/v1/jobs", Origin=ORIGIN, **headers)
    assert flight.status_code == 200
    assert flight.headers["access-control-allow-origin"] == ORIGIN
    answer = await nobody("GET", "/v1/me", Origin=ORIGIN)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "Idempotency-Key" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


async def test_head_is_get_without_the_body(admin: Client) -> None:
    """HEAD returns the same content type as GET, without a body."""
    answer = await admin("GET", "/v1/meta")
    head = await admin("HEAD", "/v1/meta")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == answer.headers["content-type"]


async def test_a_traceparent_is_stored_with_the_event(site: RunningServer, customer: Client, book: Book) -> None:
    """A well-formed `traceparent` header is stored with the event, and a malformed one is ignored."""
    first = (await log.read_head(site.engine.store.read_connection, DEFAULT_ZONE)).seq
    body = {"service": (await book(customer))["service"], **HERE, "address": "x"}
    await customer("POST", "/v1/jobs", body, traceparent=TRACEPARENT)
    await customer("POST", "/v1/jobs", body, traceparent="00-nonsense")
    events = await log.read_range(site.engine.store.redis, DEFAULT_ZONE, first, 100)
    channel = f"user:{customer.user}"
    traces = [event.trace for event in events if event.type == "job.created" and channel in event.to]
    assert traces == ["", TRACEPARENT, ""]


async def test_a_websocket_has_one_path(site: RunningServer) -> None:
    """A WebSocket handshake on another path than the socket's is refused with 403 or 404."""
    headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    headers["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    async with open_http() as client:
        answer = await client.get(f"{site.url}/v1/other", headers=headers)
    assert answer.status_code in (403, 404)


async def test_a_handshake_on_an_unknown_path_is_404(site: RunningServer) -> None:
    """A WebSocket handshake on an unknown path is refused with 404 and the same problem object as any request."""
    parts = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(UPGRADE_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    problem = msgspec.json.decode(await reader.read())
    assert problem["code"] == "not_found"
    assert f"x-request-id: {problem['request_id']}".encode() in head.lower()
    writer.close()


@pytest.mark.parametrize("piece", [b"a" * 9_000, b"X-More: " + b"a" * 9_000 + b"\r\n"])
async def test_endless_headers_are_refused(piece: bytes, site: RunningServer) -> None:
    """A request whose headers exceed 64 KiB, in one header or in many, is refused with 413, and its connection is
    closed.
    """
    parts = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
    answer = asyncio.create_task(reader.read(12))
    for _ in range(1_000):
        writer.write(piece)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        if answer.done():
            break
    with contextlib.suppress(ConnectionError):  # the server closes while this test sends, so the answer may be lost
        assert await answer == b"HTTP/1.1 413"
    assert answer.done()
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\r\nGET",
    ],
)
async def test_an_incomplete_request_is_closed(
    sent: bytes, site: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection is closed if no complete request arrives within `MAX_REQUEST_ARRIVAL_S`, also after a part of a
    request.
    """
    monkeypatch.setattr(http_protocol, "MAX_REQUEST_ARRIVAL_S", 0.1)
    parts = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(sent)
    async with asyncio.timeout(3):  # less than the 5 s after which uvicorn closes an idle connection
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()
