"""The ASGI application of ``/v1/ws``: check the handshake, accept it, attach a session, and return."""

from __future__ import annotations

from secrets import token_hex

from starlette.types import Receive, Scope, Send

from server.gateway import handshake
from server.gateway.dispatch import Dispatcher
from server.gateway.gateway import Gateway
from server.gateway.handshake import AcceptLimiter
from server.gateway.session import Session
from server.gateway.transport import ATTACH_EXTENSION
from server.http.origin import is_origin_allowed
from server.http.throttle import client_address


class SocketEndpoint:
    """The ASGI application that accepts the sockets of one gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._dispatcher = Dispatcher(gateway)
        self._accept_limiter = AcceptLimiter(gateway.engine.settings.accepts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one handshake. The session continues after this call."""
        gateway, headers = self._gateway, handshake.headers_of(scope)
        await receive()
        subprotocol = handshake.subprotocol_of(scope)
        why = self._refusal_reason(scope, headers, subprotocol)
        if why is not None:
            gateway.counters.refused_handshakes[why] += 1
            return await handshake.send_refusal(send, why)
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        hub = gateway.hubs[subprotocol or ""]
        session = Session(gateway, f"ses_{token_hex(8)}", handshake.credentials_of(scope, headers), hub)
        session.open(scope["extensions"][ATTACH_EXTENSION](session), self._dispatcher)
        gateway.counters.accepted_handshakes += 1
        gateway.sessions.add(session)
        gateway.pending.add(session, client_address(scope))
        gateway.wheel.expect_connect(session)
        return None

    def _refusal_reason(self, scope: Scope, headers: dict[bytes, str], subprotocol: str | None) -> str | None:
        """Return the reason to refuse the handshake (see server/gateway/handshake.py), None to accept it."""
        gateway = self._gateway
        if not is_origin_allowed(headers, gateway.engine.settings.origins):
            return "origin"
        if subprotocol is None:
            return "subprotocol"
        why = gateway.refusal_reason()
        if why is None and gateway.has_limits:
            if gateway.pending.is_full(client_address(scope)):
                return "unknown"
            return None if self._accept_limiter.accept() else "rush"
        return why
