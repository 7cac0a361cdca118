"""Limit the requests of one caller: rate limits in Redis (engine.identity.limits) as HTTP headers, and the size of a
body.

Requests are counted by user id, or by address if there is no token. Logins are counted by the pair of address and
account: by the address alone one office could lock itself out, by the account alone a stranger could lock the account's
owner out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from hashlib import sha256
from time import monotonic
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from engine.errors import RateLimited, TooLarge, Unavailable
from engine.identity import limits
from engine.identity.limits import Allowance, Limit
from engine.identity.local_limits import LocalMeters
from engine.rules import emails
from engine.runtime import Engine
from engine.types import Principal
from server.http.http_protocol import ARRIVAL_EXTENSION

BodyBytes = TypeVar("BodyBytes", bytes, bytearray)

MAX_BODY_BYTES = 64 * 1024
"""The largest body in bytes, the same as the largest WebSocket message, so that both transports accept the same."""

MAX_UPLOAD_S = 120.0
"""How long the body of an upload may take: 8 MiB at half a megabit a second."""

Headers = list[tuple[bytes, bytes]]


async def count_request(
    engine: Engine, limit_name: str, counted: str, local_meters: LocalMeters | None = None
) -> Headers:
    """Count one request of the caller ``counted`` (a user or an address) in the limit ``limit_name``, and return the
    headers that show how many requests are left. While a zone is closed, ``local_meters`` count the request; without
    ``local_meters`` no request is served then.

    Raises RateLimited, Unavailable. ``counted`` may be any text: it is hashed unless it is an id.
    """
    limit = limits.LIMITS[limit_name]
    try:
        allowance = await limits.count_request(engine, counted, limit)
    except Unavailable:
        if local_meters is None or all(zone.open for zone in engine.store.zones.values()):
            raise
        allowance = local_meters.count(limit, counted, monotonic())
    return _limit_headers(limit, allowance)


async def count_login(engine: Engine, address: str, account: str) -> None:
    """Count one attempt to sign in to ``account`` from ``address``. All spellings that reach one account count
    together. Raises RateLimited.
    """
    pair = sha256(f"{address}|{emails.comparison_form(account)}".encode("utf-8", "replace")).hexdigest()[:32]
    await limits.count_request(engine, pair, limits.LIMITS["login"])


def counted_name(principal: Principal | None, scope: Scope) -> str:
    """Return the name under which a caller is counted: their user id, or a hash of their address."""
    return principal.id if principal else "ip_" + sha256(client_address(scope).encode()).hexdigest()[:24]


def client_address(scope: Scope) -> str:
    """Return the client's address from uvicorn (behind one of ``trusted_proxies``, the forwarded one), "" on a Unix
    socket.
    """
    client = scope.get("client")
    return str(client[0]) if client else ""


def _limit_headers(limit: Limit, allowance: Allowance) -> Headers:
    return [
        (b"ratelimit-policy", policy_header(limit)),
        (b"ratelimit", f'"{limit.name}";r={allowance.remaining};t={-int(-allowance.reset_s // 1)}'.encode()),
    ]


def refusal_headers(limit_name: str, error: RateLimited) -> Headers:
    """Return the headers of a 429 for this limit. ``Retry-After`` is not among them: the problem object adds it."""
    wait = -int(-(error.retry_after or 1) // 1)
    return [
        (b"ratelimit-policy", policy_header(limits.LIMITS[limit_name])),
        (b"ratelimit", f'"{limit_name}";r=0;t={wait}'.encode()),
    ]


def policy_header(limit: Limit) -> bytes:
    """Return ``limit`` as a header value, such as ``"requests";q=20;w=1``: the quota, and the window in seconds."""
    return f'"{limit.name}";q={limit.count};w={limit.period_s:g}'.encode()


async def read_body(scope: Scope, receive: Receive, limit: int = MAX_BODY_BYTES) -> bytes:
    """Return the whole body, of at most ``limit`` bytes. Raises TooLarge if ``Content-Length`` is larger, or when
    too many bytes have arrived, and ClientDisconnect.

    The server discards the unread rest, so the connection stays usable and the client receives the response.
    """
    _check_announced(scope, limit)
    first, more = await _receive_part(receive)
    if not more:
        return _check_size(first, limit)
    parts = bytearray(first)
    while more:
        part, more = await _receive_part(receive)
        parts += part
        _check_size(parts, limit)
    return bytes(parts)


def body_parts(scope: Scope, receive: Receive, most: int) -> AsyncIterator[bytes]:
    """Return the body as a stream, and give its sender ``MAX_UPLOAD_S`` to send it. Raises TooLarge if
    ``Content-Length`` is above ``most``; the stream raises ClientDisconnect. The reader of the stream counts its bytes.
    """
    _check_announced(scope, most)
    return _stream_parts(scope, receive)


async def _stream_parts(scope: Scope, receive: Receive) -> AsyncIterator[bytes]:
    if (extend := scope.get("extensions", {}).get(ARRIVAL_EXTENSION)) is not None:
        extend(MAX_UPLOAD_S)
    more = True
    while more:
        part, more = await _receive_part(receive)
        yield part


def _check_announced(scope: Scope, most: int) -> None:
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if announced.isdigit() and int(announced) > most:
        raise TooLarge(f"At most {most} bytes")


async def _receive_part(receive: Receive) -> tuple[bytes, bool]:
    """Return the next part of the body, and whether more follows. Raises ClientDisconnect if the client disconnects
    before the end: a partial body must not be used as a whole one.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def _check_size(body: BodyBytes, limit: int) -> BodyBytes:
    if len(body) > limit:
        raise TooLarge(f"At most {limit} bytes")
    return body
