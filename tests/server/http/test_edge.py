"""What every answer has, whatever the route: names, bounds, origins, and no word of what broke inside."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from engine.errors import Indeterminate, Unavailable
from engine.identity import accounts
from engine.types import DEFAULT_ZONE
from engine.zone import log
from server.http import http_protocol
from server.serve import Running
from tests.server.http.client import HERE, ORIGIN, Client, code_of
from tests.server.http.conftest import Book

UPGRADE = (
    b"GET /v1/nowhere HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_bug_is_500_without_its_text(customer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unhandled exception is `internal`: the caller learns the request's id, the log learns the rest."""

    async def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(accounts, "read_own_user", broken)
    with capture_logs() as logged:
        answer = await customer("GET", "/v1/me", X_Request_Id="req-7")
    assert code_of(answer) == (500, "internal")
    assert "secret" not in answer.text
    entry = next(line for line in logged if line["event"] == "unhandled")
    assert (entry["request_id"], entry["log_level"]) == ("req-7", "error")


@pytest.mark.parametrize(
    ("error", "status", "code"), [(Unavailable(), 503, "unavailable"), (Indeterminate(), 504, "indeterminate")]
)
async def test_failures_of_the_stores_say_what_they_promise(
    error: Exception, status: int, code: str, customer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 promises that nothing was done, 504 that nobody knows; both may be repeated."""

    async def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(accounts, "read_own_user", failing)
    answer = await customer("GET", "/v1/me")
    assert code_of(answer) == (status, code)
    assert answer.json()["temporary"] is True


@pytest.mark.parametrize("given", ["", "two words", "x" * 65, "a/b"])
async def test_a_malformed_request_id_is_replaced(given: str, nobody: Client) -> None:
    """Only a short plain word is taken for a request id: it goes into logs."""
    answer = await nobody("GET", "/healthz", X_Request_Id=given)
    assert answer.headers["x-request-id"] not in ("", given)


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/v1/me"])
async def test_every_answer_names_its_request(path: str, nobody: Client) -> None:
    """Good or refused, an answer carries the id that the caller gave."""
    answer = await nobody("GET", path, X_Request_Id="abc.DEF_1-2")
    assert answer.headers.get_list("x-request-id") == ["abc.DEF_1-2"]


async def test_a_body_sent_in_pieces_is_bounded_too(customer: Client) -> None:
    """A chunked body announces no length; it is cut off at the byte that is over."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 2_048

    answer = await customer.http.post(
        "/v1/jobs", content=pieces(), headers={"authorization": f"Bearer {customer.token}"}
    )
    assert code_of(answer) == (413, "too_large")


async def test_a_body_in_pieces_is_put_together(nobody: Client) -> None:
    """A small body may come in as many pieces as it likes."""

    async def pieces() -> AsyncIterator[bytes]:
        for byte in b'{"refresh_token":"no such"}':
            yield bytes([byte])

    answer = await nobody.http.post("/v1/auth/refresh", content=pieces())
    assert code_of(answer) == (401, "unauthenticated")


async def test_the_connection_survives_a_body_that_was_too_large(site: Running) -> None:
    """After 413 the same connection serves the next request."""
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


async def test_a_caller_who_hangs_up_in_the_middle_does_nothing(site: Running, customer: Client, book: Book) -> None:
    """Half a body is not acted on, even where the half is JSON by itself."""
    url, path = urlsplit(site.url), f"/v1/jobs/{(await book(customer))['id']}"
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    head = f"POST {path}/cancel HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\nauthorization: Bearer {customer.token}"
    writer.write(head.encode() + b"\r\n\r\n{}")
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert (await customer("GET", path)).json()["job"]["status"] == "broadcasted"


async def test_another_origin_gets_no_permission(nobody: Client) -> None:
    """CORS is by exact origin: a look-alike is refused at preflight and named on no answer."""
    for origin in ("https://app.example.evil", "http://app.example", "https://APP.example", "null"):
        asked = {"Origin": origin, "Access_Control_Request_Method": "POST"}
        assert (await nobody("OPTIONS", "/v1/jobs", **asked)).status_code == 400
        answer = await nobody("GET", "/healthz", Origin=origin)
        assert "access-control-allow-origin" not in answer.headers


async def test_our_origin_may_call(nobody: Client) -> None:
    """The listed origin passes preflight, and may read the headers it needs, on refusals too."""
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,if-match"}
    flight = await nobody("OPTIONS", "/v1/jobs", Origin=ORIGIN, **asked)
    assert flight.status_code == 200
    assert flight.headers["access-control-allow-origin"] == ORIGIN
    answer = await nobody("GET", "/v1/me", Origin=ORIGIN)
    assert answer.status_code == 401
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "Idempotency-Key" in answer.headers["access-control-expose-headers"]
    assert "Origin" in answer.headers["vary"]


async def test_head_is_get_without_the_body(admin: Client) -> None:
    """HEAD gives the headers that GET would."""
    whole = await admin("GET", "/v1/meta")
    head = await admin("HEAD", "/v1/meta")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


async def test_a_trace_goes_with_the_event(site: Running, customer: Client, book: Book) -> None:
    """A well-formed traceparent is kept with the event; a malformed one is left behind."""
    first = (await log.read_head(site.engine.store.reads, DEFAULT_ZONE)).seq
    body = {"service": (await book(customer))["service"], **HERE, "address": "x"}
    await customer("POST", "/v1/jobs", body, traceparent=TRACE)
    await customer("POST", "/v1/jobs", body, traceparent="00-nonsense")
    events = await log.read_range(site.engine.store.redis, DEFAULT_ZONE, first, 100)
    mine = f"user:{customer.user}"
    made = [event.trace for event in events if event.type == "job.created" and mine in event.to]
    assert made == ["", TRACE, ""]


async def test_the_handshake_is_refused_elsewhere(site: Running) -> None:
    """A WebSocket is opened at its one path only."""
    asked = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    asked["sec-websocket-key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{site.url}/v1/other", headers=asked)
    assert answer.status_code in (403, 404)


async def test_a_socket_elsewhere_is_not_found(site: Running) -> None:
    """A handshake on a path that has none gets the problem that any request there gets."""
    parts = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(UPGRADE)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 404 ")
    problem = msgspec.json.decode(await reader.read())
    assert problem["code"] == "not_found"
    assert f"x-request-id: {problem['request_id']}".encode() in head.lower()
    writer.close()


@pytest.mark.parametrize("piece", [b"a" * 9_000, b"X-More: " + b"a" * 9_000 + b"\r\n"])
async def test_a_head_without_end_is_turned_away(piece: bytes, site: Running) -> None:
    """One header or very many: beyond 64 KiB a request that has not even begun is refused and cut."""
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
    with contextlib.suppress(ConnectionError):  # cut while we still sent: the answer may be lost with it
        assert await answer == b"HTTP/1.1 413"
    assert answer.done()
    writer.close()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n",
        b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n\r\nGET",
    ],
)
async def test_a_request_that_does_not_arrive_is_cut(
    begun: bytes, site: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever does not finish a request in time loses the connection, whether he began it or not."""
    monkeypatch.setattr(http_protocol, "MAX_ARRIVAL_S", 0.1)
    parts = urlsplit(site.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(begun)
    async with asyncio.timeout(3):  # before uvicorn's own five seconds between two requests
        with contextlib.suppress(ConnectionError):
            await reader.read()
    writer.close()
