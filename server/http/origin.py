"""Which web pages may use the server: checks of the header ``Origin``, which a browser writes and a page cannot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from engine.errors import Forbidden


def is_origin_allowed(headers: dict[bytes, str], origins: Iterable[str]) -> bool:
    """Return whether the request may open a WebSocket: it has no ``Origin`` (it does not come from a web page), or its
    ``Origin`` is one of ``origins`` or of this server. A forged ``Origin`` gains nothing, because a socket reads no
    cookies.
    """
    return b"origin" not in headers or headers[b"origin"] in origins or is_own_origin(headers)


def is_own_origin(headers: dict[bytes, str]) -> bool:
    """Return whether the request comes from a page of this server: its ``Origin`` has the host of the request. The
    scheme is not compared: behind a proxy that ends TLS, the server's scheme is not the browser's.
    """
    return headers.get(b"origin", "").partition("://")[2] == headers.get(b"host", "-")


def require_own_origin(headers: Mapping[bytes, bytes]) -> str:
    """Return the ``Origin`` of a request that uses a cookie. Raises Forbidden unless it is a page of this server: a
    request without an ``Origin`` is refused too, and the pages in ``CALLOUT_ORIGINS`` may not use cookies.
    """
    named = {name: headers[name].strip().decode("latin-1") for name in (b"origin", b"host") if name in headers}
    if not is_own_origin(named):
        raise Forbidden("A session in a cookie is for the pages of this server: its Origin must be the server's")
    return named[b"origin"]
