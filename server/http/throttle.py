"""How much one caller may ask: meters in Redis (engine.identity.limits) as HTTP headers, and the size of a body.

A caller is his user id; without a token, his address. The meter of a login is the pair of address and
account: the address alone would let one office lock itself out, the account alone would let a stranger lock
its owner out.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from engine.errors import RateLimited, TooLarge
from engine.identity import limits
from engine.identity.limits import Allowance, Limit
from engine.rules import emails
from engine.runtime import Engine
from engine.types import Principal

Sized = TypeVar("Sized", bytes, bytearray)

BODY_BYTES = 64 * 1024
"""The largest body: that of a WebSocket frame, so that what one way takes the other does."""

Headers = list[tuple[bytes, bytes]]


async def spend(engine: Engine, name: str, who: str) -> Headers:
    """Count one request of ``who`` on the meter called ``name`` and tell how much is left.

    Raises RateLimited. ``who`` may be any text: it is hashed unless it is an id.
    """
    allowance = await limits.take(engine, who, limits.LIMITS[name])
    return _headers(limits.LIMITS[name], allowance)


async def spend_login(engine: Engine, address: str, account: str) -> None:
    """Count one attempt to sign in to ``account`` from ``address``. All spellings that reach one account count
    together. Raises RateLimited.
    """
    pair = sha256(f"{address}|{emails.compared(account)}".encode("utf-8", "replace")).hexdigest()[:32]
    await limits.take(engine, pair, limits.LIMITS["login"])


def meter_of(principal: Principal | None, scope: Scope) -> str:
    """The name under which a caller is metered: his id, or one made from his address."""
    return principal.id if principal else "ip_" + sha256(address_of(scope).encode()).hexdigest()[:24]


def address_of(scope: Scope) -> str:
    """The caller's address as uvicorn knows it (behind one of ``trusted_proxies``, the forwarded one); "" on a Unix
    socket.
    """
    client = scope.get("client")
    return str(client[0]) if client else ""


def _headers(limit: Limit, allowance: Allowance) -> Headers:
    return [
        (b"ratelimit-policy", policy(limit)),
        (b"ratelimit", f'"{limit.name}";r={allowance.remaining};t={-int(-allowance.reset_s // 1)}'.encode()),
    ]


def refused_headers(name: str, error: RateLimited) -> Headers:
    """The headers of a 429 on the meter called ``name``; ``Retry-After`` comes with the problem."""
    wait = -int(-(error.retry_after or 1) // 1)
    return [
        (b"ratelimit-policy", policy(limits.LIMITS[name])),
        (b"ratelimit", f'"{name}";r=0;t={wait}'.encode()),
    ]


def policy(limit: Limit) -> bytes:
    """``"requests";q=20;w=1``: the quota, and the window in seconds."""
    return f'"{limit.name}";q={limit.count};w={limit.per_s:g}'.encode()


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The whole body, of at most BODY_BYTES; raises TooLarge on the announced length, or at the byte that
    is over.

    What is left unread is thrown away by the server, so the connection stays usable and the client sees the
    answer.
    """
    announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    if announced.isdigit() and int(announced) > BODY_BYTES:
        raise TooLarge(f"At most {BODY_BYTES} bytes")
    first, more = await _part(receive)
    if not more:
        return _bounded(first)
    parts = bytearray(first)
    while more:
        part, more = await _part(receive)
        parts += part
        _bounded(parts)
    return bytes(parts)


async def _part(receive: Receive) -> tuple[bytes, bool]:
    """Half a body must not be taken for a whole one: a caller who went away in the middle raises
    ClientDisconnect.
    """
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def _bounded(body: Sized) -> Sized:
    if len(body) > BODY_BYTES:
        raise TooLarge(f"At most {BODY_BYTES} bytes")
    return body
