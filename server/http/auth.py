"""Authenticate the caller of a request: one plain ASGI layer for HTTP and WebSockets.

This layer refuses nothing. A public route ignores a bad token, a WebSocket may still send a good token in its first
message, and for all others the endpoint writes the refusal, as it writes every refusal. So this layer only stores its
result in ``scope["state"]``: ``principal`` (a Principal or None) and ``refusal`` (the error of a token that was given
and is not valid, or None). ``suspended`` is the suspended technician to whom a token belongs, for the routes that serve
them. (Rejected: Starlette's BaseHTTPMiddleware, which never runs for a WebSocket, and a decorator
on each handler, which is easily forgotten.)
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from engine.errors import AccountNotApproved, CalloutError, Forbidden, Unauthenticated
from engine.identity import suspended_accounts, tokens
from engine.identity.signs_of_life import SignsOfLife
from engine.runtime import Engine
from engine.technicians import lease_renewal
from engine.types import Principal, Role
from server.schemas.query import ticket_of

MAX_RENEWAL_TIMES = 100_000


class AuthenticationLayer:
    """An ASGI layer that sets ``state["principal"]`` and ``state["refusal"]`` of each HTTP request and WebSocket."""

    def __init__(self, app: ASGIApp, engine: Engine, signs_of_life: SignsOfLife | None = None) -> None:
        self.app = app
        self.engine = engine
        self._signs_of_life = signs_of_life
        self._touched: dict[str, float] = {}
        self._renew_every_s = engine.settings.lease_s / 4

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Store the caller in ``scope["state"]`` and call the application."""
        if scope["type"] in ("http", "websocket"):
            state: dict[str, Any] = scope.setdefault("state", {})
            state["principal"], state["refusal"] = await self._caller(scope)
        await self.app(scope, receive, send)

    async def _caller(self, scope: Scope) -> tuple[Principal | None, CalloutError | None]:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), None)
        if given is None:
            return None, None
        scheme, _, token = given.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None, Unauthenticated("Authorization must be: Bearer <token>")
        try:
            principal = await tokens.principal_of(self.engine, token.strip())
            if self._signs_of_life is not None:
                self._signs_of_life.note(principal.id)
            if principal.role == "technician":
                await self._renew_lease(principal.id)
        except AccountNotApproved as refusal:
            with suppress(CalloutError):
                scope["state"]["suspended"] = await suspended_accounts.principal_of(self.engine, token.strip())
            return None, refusal
        except CalloutError as refusal:
            return None, refusal
        return principal, None

    async def _renew_lease(self, technician: str) -> None:
        """Renew the technician's presence lease: an authenticated request is a sign of life (PROTOCOL §6). This is done
        at most four times a lease, so that a busy app costs no more than an idle socket. If it fails, the request
        continues.
        """
        now = time.monotonic()
        if now - self._touched.get(technician, -self._renew_every_s) < self._renew_every_s:
            return
        if len(self._touched) >= MAX_RENEWAL_TIMES:
            self._touched.clear()
        self._touched[technician] = now
        with suppress(CalloutError):
            await lease_renewal.renew_leases_in_own_zones(self.engine, [technician])


async def authenticate_by_ticket(scope: Scope, engine: Engine) -> None:
    """Authenticate the caller by a ticket for events in the query, because an EventSource cannot send a token. If the
    request has a token, the ticket is ignored.
    """
    state = scope["state"]
    ticket = ticket_of(scope["query_string"])
    if ticket is None or state["principal"] is not None or state["refusal"] is not None:
        return
    try:
        state["principal"] = await tokens.redeem_ticket(engine, ticket, "events")
    except CalloutError as refusal:
        state["refusal"] = refusal


def admitted_caller(scope: Scope, roles: frozenset[Role] | None, *, serves_suspended: bool = False) -> Principal | None:
    """Return the caller of a route for ``roles``. If ``roles`` is None (a public route), this may be None.
    ``serves_suspended``: the route serves suspended technicians too.

    Raises Unauthenticated without a token, the stored refusal for a bad token, and Forbidden for another role.
    """
    principal: Principal | None = scope["state"]["principal"]
    if roles is None:
        return principal
    if principal is None and serves_suspended:
        principal = scope["state"].get("suspended")
    if principal is None:
        raise scope["state"]["refusal"] or Unauthenticated()
    if principal.role not in roles:
        raise Forbidden(f"Not for the role {principal.role}")
    return principal
