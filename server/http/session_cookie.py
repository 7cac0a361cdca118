"""The session of a page of this server: the refresh token in a cookie that scripts cannot read.

Browsers send the cookie only to ``/v1/auth``, and only from pages of the same site (``SameSite=Strict``). A request
that uses it must have the ``Origin`` of this server (server/http/origin.py). The access token is not in the cookie: the
page has it in its memory and sends it itself, so that a foreign page cannot forge other requests. (Rejected: the access
token in a cookie as well. Every route would need a defence against forged requests. Rejected: the refresh token in the
storage of the page. Any injected script could read it.)

Each app of this server has a cookie of its own (``console``, ``book``, ``tech``), so that one browser can be a
customer, a technician and an admin at once, as in a demo.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.errors import Unauthenticated
from engine.identity.accounts import LoginResult
from engine.identity.tokens import REFRESH_TOKEN_S
from server.http import responses
from server.http.origin import require_own_origin
from server.http.responses import Header, Response

PATH = "/v1/auth"
_VALUE = re.compile(r"[A-Za-z0-9._~+/=-]{1,4096}")


def _cookie_name(app: str) -> str:
    return f"callout_{app}"


def read_token(headers: Mapping[bytes, bytes], app: str) -> str:
    """Return the refresh token of the cookie of ``app``. Raises Forbidden for a request that does not come from a page
    of this server, and Unauthenticated if there is no cookie.
    """
    require_own_origin(headers)
    found = _values(headers, _cookie_name(app))
    if len(found) > 1:
        raise Unauthenticated("Two cookies have the name of this session: delete the cookies of this site")
    value = next(iter(found), "")
    if not _VALUE.fullmatch(value):
        raise Unauthenticated("No session in a cookie")
    return value


def _values(headers: Mapping[bytes, bytes], name: str) -> set[str]:
    """Return the values of all cookies with this name. A cookie is not bound to a port, and subdomains may share it. So
    another server can set a cookie of the same name with another path, and a reader that takes one of the two may take
    the session of a stranger. (Rejected: `http.cookies`. It finds nothing if any cookie, such as one of another server
    on this host, has a character that it does not accept.)
    """
    pairs = (pair.partition("=") for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"))
    return {value.strip() for key, _, value in pairs if key.strip() == name}


def signed_in_response(headers: Mapping[bytes, bytes], app: str, result: LoginResult, *more: Header) -> Response:
    """Return the reply to a sign-in whose session is the cookie of ``app``: ``result`` without the refresh token.
    Raises Forbidden for a request that does not come from a page of this server.
    """
    cookie = set_cookie(headers, app, result.refresh_token)
    shown = {name: getattr(result, name) for name in result.__struct_fields__ if name != "refresh_token"}
    return responses.json_response(shown, cookie, *more)


def set_cookie(headers: Mapping[bytes, bytes], app: str, token: str) -> Header:
    """Return the header that stores ``token`` as the session of ``app``, for as long as a refresh token is valid.
    Raises Forbidden for a request that does not come from a page of this server.
    """
    return _cookie(headers, app, token, REFRESH_TOKEN_S)


def delete_cookie(headers: Mapping[bytes, bytes], app: str) -> Header:
    """Return the header that deletes the cookie of ``app``. Raises Forbidden as ``set_cookie`` does."""
    return _cookie(headers, app, "", 0)


def _cookie(headers: Mapping[bytes, bytes], app: str, value: str, max_age_s: int) -> Header:
    # The server does not know whether a proxy before it ends TLS; the browser's Origin shows it.
    secure = "; Secure" if require_own_origin(headers).startswith("https://") else ""
    text = f"{_cookie_name(app)}={value}; Path={PATH}; Max-Age={max_age_s}; HttpOnly; SameSite=Strict{secure}"
    return b"set-cookie", text.encode("latin-1")
