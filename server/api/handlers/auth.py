"""Sign-up, sign-in and sign-out."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from engine.identity import accounts, tokens
from engine.identity.accounts import LoginResult, NewAccount
from server.api.endpoint import RequestContext
from server.http import responses, session_cookie, throttle
from server.http.origin import require_own_origin
from server.http.responses import Header, Response
from server.schemas.auth import Login, NewTicket, RefreshToken, Register
from server.schemas.decode import NoQuery

MAX_DEVICE_LENGTH = 200
"""The largest stored length of a client's name, in characters."""


async def register(call: RequestContext[Register, NoQuery]) -> Response:
    """Create one's own account, as a customer or a technician, and sign in."""
    _check_cookie_allowed(call)
    new = msgspec.convert(call.body, NewAccount, from_attributes=True)
    result = await accounts.register_user(call.engine, new, key=call.key, device=_user_agent(call))
    return _signed_in(call, result.value, *responses.replay_headers(result), (b"location", b"/v1/me"))


async def login(call: RequestContext[Login, NoQuery]) -> Response:
    """Sign in; ten attempts a minute for each pair of address and account."""
    _check_cookie_allowed(call)
    await throttle.count_login(call.engine, call.address, call.body.email)
    who = (call.body.email, call.body.password)
    return _signed_in(call, await accounts.login(call.engine, *who, device=_user_agent(call)))


async def refresh(call: RequestContext[RefreshToken, NoQuery]) -> Response:
    """Return a new access token and a new refresh token in exchange for a refresh token."""
    return _signed_in(call, await accounts.refresh_login(call.engine, _refresh_token(call)))


async def logout(call: RequestContext[RefreshToken, NoQuery]) -> Response:
    """End the session of a refresh token: all refresh tokens of the session become invalid."""
    await tokens.end_login_of_token(call.engine, _refresh_token(call))
    cookie = call.body.cookie
    return Response(headers=(session_cookie.delete_cookie(call.headers, cookie),) if cookie else ())


async def ticket(call: RequestContext[NewTicket, NoQuery]) -> Response:
    """Return a short-lived ticket that replaces the token in requests in which a browser can send no header."""
    return responses.json_response(await tokens.issue_ticket(call.engine, call.caller, call.body.purpose))


def _refresh_token(call: RequestContext[RefreshToken, NoQuery]) -> str:
    """Return the refresh token of the body, or of the cookie that the body names."""
    return call.body.refresh_token or session_cookie.read_token(call.headers, call.body.cookie or "")


def _check_cookie_allowed(call: RequestContext[Register, NoQuery] | RequestContext[Login, NoQuery]) -> None:
    """Check, before anything is done, that a request for a session in a cookie comes from a page of this server. Raises
    Forbidden.
    """
    if call.body.cookie is not None:
        require_own_origin(call.headers)


def _signed_in(call: RequestContext[Any, NoQuery], result: LoginResult, *headers: Header) -> Response:
    """Return the answer with the tokens. If the request names a cookie, only the cookie has the refresh token."""
    if call.body.cookie is None:
        return responses.json_response(result, *headers)
    return session_cookie.signed_in_response(call.headers, call.body.cookie, result, *headers)


def _user_agent(call: RequestContext[Any, NoQuery]) -> str | None:
    """Return the client's name (``User-Agent``) as one line of ASCII, or None."""
    named = call.headers.get(b"user-agent", b"").decode("ascii", "ignore")
    return re.sub(r"[^ -~]", "", named).strip()[:MAX_DEVICE_LENGTH] or None
