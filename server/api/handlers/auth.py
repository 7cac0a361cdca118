"""Sign-up, sign-in and sign-out."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.identity import accounts, tokens
from engine.identity.accounts import NewAccount
from server.api.endpoint import RequestContext
from server.http import responses, throttle
from server.http.responses import Response
from server.schemas.auth import Login, NewTicket, RefreshToken, Register
from server.schemas.decode import NoQuery

MAX_DEVICE_LENGTH = 200
"""The largest stored length of a client's name, in characters."""


async def register(call: RequestContext[Register, NoQuery]) -> Response:
    """Create one's own account, as a customer or a technician, and sign in."""
    new = msgspec.convert(call.body, NewAccount, from_attributes=True)
    result = await accounts.register_user(call.engine, new, key=call.key, device=_user_agent(call))
    return responses.json_response(result.value, *responses.replay_headers(result), (b"location", b"/v1/me"))


async def login(call: RequestContext[Login, NoQuery]) -> Response:
    """Sign in; ten attempts a minute for each pair of address and account."""
    await throttle.count_login(call.engine, call.address, call.body.email)
    who = (call.body.email, call.body.password)
    return responses.json_response(await accounts.login(call.engine, *who, device=_user_agent(call)))


async def refresh(call: RequestContext[RefreshToken, NoQuery]) -> Response:
    """Return a new access token and a new refresh token in exchange for a refresh token."""
    return responses.json_response(await accounts.refresh_login(call.engine, call.body.refresh_token))


async def logout(call: RequestContext[RefreshToken, NoQuery]) -> Response:
    """End the session of a refresh token: all refresh tokens of the session become invalid."""
    await tokens.end_login_of_token(call.engine, call.body.refresh_token)
    return Response()


async def ticket(call: RequestContext[NewTicket, NoQuery]) -> Response:
    """Return a short-lived ticket that replaces the token in requests in which a browser can send no header."""
    return responses.json_response(await tokens.issue_ticket(call.engine, call.caller, call.body.purpose))


def _user_agent(call: RequestContext[Any, NoQuery]) -> str | None:
    """Return the client's name (``User-Agent``) as one line of ASCII, or None."""
    named = call.headers.get(b"user-agent", b"").decode("ascii", "ignore")
    return re.sub(r"[^ -~]", "", named).strip()[:MAX_DEVICE_LENGTH] or None
