"""Who may come in: what is looked at before the upgrade, and the HTTP answer to who may not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from secrets import token_hex
from time import monotonic
from urllib.parse import parse_qs

from starlette.types import Scope, Send

from engine.errors import CalloutError, Invalid, Unavailable
from server.gateway.frames import JsonFrames, MsgpackFrames
from server.gateway.protocol import Credentials
from server.schemas import problems

SUBPROTOCOLS = (JsonFrames.subprotocol, MsgpackFrames.subprotocol)

_REFUSALS: dict[str, CalloutError] = {
    "subprotocol": Invalid(f"Sec-WebSocket-Protocol must offer {' or '.join(SUBPROTOCOLS)}"),
    "draining": Unavailable("Draining: come back, to another node", retry_after=1),
    "deaf": Unavailable("No word from Redis yet", retry_after=1),
    "full": Unavailable("As many connections as this node may have", retry_after=5),
    "unknown": Unavailable("Too many sockets of this address have not said who they are", retry_after=2),
    "rush": Unavailable("More come at once than this node lets in", retry_after=1),
}


def headers_of(scope: Scope) -> dict[bytes, str]:
    """The request's headers, by name in small letters."""
    return {name: value.decode("latin-1") for name, value in scope["headers"]}


def is_welcome(headers: dict[bytes, str], origins: Iterable[str]) -> bool:
    """Whether the page that asks, if it is one, is on the list, or of this very server: ``Origin`` names the host
    that was called. The scheme is not compared: behind a proxy that ends TLS, ours is not the browser's. Nothing is
    won by forging it, for no cookie is ever looked at.
    """
    origin = headers.get(b"origin")
    return origin is None or origin in origins or origin.partition("://")[2] == headers.get(b"host")


def subprotocol_of(scope: Scope) -> str | None:
    """The first of ours that the client offers."""
    return next((name for name in scope["subprotocols"] if name in SUBPROTOCOLS), None)


def credentials_of(scope: Scope, headers: dict[bytes, str]) -> Credentials:
    """What came with the request."""
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    ticket = parse_qs(scope["query_string"].decode("latin-1")).get("ticket")
    return Credentials(
        token.strip() if scheme.lower() == "bearer" and token.strip() else None, ticket[0] if ticket else None
    )


class AcceptLimiter:
    """Lets ``rate`` in a second, and as many at once after a quiet one. In memory: it guards this node's loop."""

    __slots__ = ("_free_at", "_step")

    def __init__(self, rate: int) -> None:
        self._step = 1 / rate
        self._free_at = 0.0

    def let_in(self) -> bool:
        """Count one, unless there were too many."""
        now = monotonic()
        at = max(self._free_at, now - 1.0) + self._step
        if at > now:
            return False
        self._free_at = at
        return True


class PendingSockets:
    """Sockets that have not shown yet who they are, by the address they came from: at most ``most`` of each."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._came_from: dict[object, str] = {}
        self._counts: Counter[str] = Counter()

    def is_full(self, address: str) -> bool:
        """Whether one more of this address is too many. A Unix socket has no address, and no limit."""
        return bool(address) and self._counts[address] >= self._most

    def take(self, session: object, address: str) -> None:
        """``session`` came from ``address`` and has said nothing yet."""
        self._came_from[session] = address
        self._counts[address] += 1

    def release(self, session: object) -> None:
        """It is known by now, or gone. May be repeated."""
        address = self._came_from.pop(session, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]


def unavailable(why: str) -> Unavailable:
    """The refusal of who comes in the wrong moment, whichever way he came."""
    known = _REFUSALS[why]
    return Unavailable(known.detail, retry_after=known.retry_after)


async def refuse(send: Send, why: str) -> None:
    """An HTTP answer instead of the upgrade; a wrong origin is told no more than 403."""
    error = _REFUSALS.get(why)
    if error is None:
        return await send({"type": "websocket.close", "code": 1000})
    await refuse_upgrade(send, error)


async def refuse_upgrade(send: Send, error: CalloutError) -> None:
    """Answer a handshake with the problem that ``error`` is, stamped like every answer."""
    request_id = token_hex(8)
    body = problems.encode(error, request_id)
    stamp = (b"x-request-id", request_id.encode())
    headers = [stamp, problems.NOSNIFF, (b"content-type", problems.MEDIA_TYPE), *problems.headers(error)]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
