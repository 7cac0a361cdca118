"""The checks before a WebSocket upgrade, and the HTTP response to a client that is refused."""

from __future__ import annotations

from collections import Counter
from secrets import token_hex
from time import monotonic

from starlette.types import Scope, Send

from engine.errors import CalloutError, Invalid, Unavailable
from server.gateway.frames import JsonFrames, MsgpackFrames
from server.gateway.protocol import Credentials
from server.schemas import problems
from server.schemas.query import ticket_of

SUBPROTOCOLS = (JsonFrames.subprotocol, MsgpackFrames.subprotocol)

_REFUSALS: dict[str, CalloutError] = {
    "subprotocol": Invalid(f"Sec-WebSocket-Protocol must offer {' or '.join(SUBPROTOCOLS)}"),
    "draining": Unavailable("This node is draining: connect to another node", retry_after=1),
    "deaf": Unavailable("This node is not connected to Redis", retry_after=1),
    "full": Unavailable("This node has as many connections as it may have", retry_after=5),
    "unknown": Unavailable("Too many sockets of this address have not sent connect yet", retry_after=2),
    "rush": Unavailable("Too many new connections at once on this node", retry_after=1),
}


def headers_of(scope: Scope) -> dict[bytes, str]:
    """Return the request's headers, by name in lower case."""
    return {name: value.strip().decode("latin-1") for name, value in scope["headers"]}


def subprotocol_of(scope: Scope) -> str | None:
    """Return the first subprotocol that the client offers and this server supports, None if there is none."""
    return next((name for name in scope["subprotocols"] if name in SUBPROTOCOLS), None)


def credentials_of(scope: Scope, headers: dict[bytes, str]) -> Credentials | None:
    """Return the bearer token of ``Authorization`` and the ``ticket`` of the query, None for each that is missing, and
    None if both are missing.
    """
    scheme, _, token = headers.get(b"authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    ticket = ticket_of(scope["query_string"])
    return Credentials(token or None, ticket) if token or ticket else None


class AcceptLimiter:
    """A limit of ``rate`` new WebSockets a second, with a burst of ``rate`` after a second without any. Each process
    counts its own WebSockets in memory, because the limit protects this process's event loop.
    """

    __slots__ = ("_free_at", "_interval_s")

    def __init__(self, rate: int) -> None:
        self._interval_s = 1 / rate
        self._free_at = 0.0

    def accept(self) -> bool:
        """Count one WebSocket and return True, or return False if the limit is reached."""
        now = monotonic()
        at = max(self._free_at, now - 1.0) + self._interval_s
        if at > now:
            return False
        self._free_at = at
        return True


class PendingSockets:
    """The sockets that have not sent ``connect`` yet, counted by client address: at most ``max_for_address`` for each
    address.
    """

    def __init__(self, max_for_address: int) -> None:
        self._max_for_address = max_for_address
        self._addresses: dict[object, str] = {}
        self._counts: Counter[str] = Counter()

    def is_full(self, address: str) -> bool:
        """Return whether ``address`` may have no further pending socket. A Unix socket has no address and no limit."""
        return bool(address) and self._counts[address] >= self._max_for_address

    def add(self, session: object, address: str) -> None:
        """Count ``session``, a new socket from ``address``, as pending."""
        self._addresses[session] = address
        self._counts[address] += 1

    def remove(self, session: object) -> None:
        """Call this when ``session`` is authenticated or closed, so not pending any longer. A second call has no
        effect.
        """
        address = self._addresses.pop(session, None)
        if address is not None:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]


def unavailable_error(reason: str) -> Unavailable:
    """Return the error with status 503 for the reason ``reason``, a key of ``_REFUSALS``. Sockets, streams and polls
    use the same reasons."""
    known = _REFUSALS[reason]
    return Unavailable(known.detail, retry_after=known.retry_after)


async def send_refusal(send: Send, reason: str) -> None:
    """Send an HTTP response instead of the upgrade. A wrong origin gets 403 without a body."""
    error = _REFUSALS.get(reason)
    if error is None:
        return await send({"type": "websocket.close", "code": 1000})
    await send_error(send, error)


async def send_error(send: Send, error: CalloutError) -> None:
    """Send ``error`` as a problem document in response to a handshake, with a request id like every other response."""
    request_id = token_hex(8)
    body = problems.encode_problem(error, request_id)
    stamp = (b"x-request-id", request_id.encode())
    headers = [stamp, problems.NOSNIFF, (b"content-type", problems.MEDIA_TYPE), *problems.problem_headers(error)]
    await send({"type": "websocket.http.response.start", "status": error.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
