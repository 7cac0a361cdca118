"""The security headers of the pages: the Content-Security-Policy and others."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from engine.process.settings import Settings
from server.http.responses import Header

_RULES = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data: blob:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "worker-src": "'self'",
    "manifest-src": "'self'",
    "frame-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
"""Scripts, styles and workers are allowed only as files from this server, not inside a page. Therefore a script that
somebody writes into a name or an address does not run. ``blob:`` and ``data:`` images are photos and signatures before
they are sent.
"""


def content_policy(*, map_origins: Iterable[str] = (), framed: bool = False, redoc: bool = False) -> bytes:
    """Return the policy of a page. ``map_origins``: also images and requests from there, for a map that the operator
    chose. ``framed``: pages of this server may show the page in a frame (the phone beside the map). ``redoc``: Redoc
    writes styles into the page and its fonts are in its script; only the page of the interface has this.
    """
    rules = dict(_RULES)
    for origin in map_origins:
        for rule in ("img-src", "connect-src"):
            rules[rule] += f" {origin}"
    if framed:
        rules["frame-ancestors"] = "'self'"
    if redoc:
        rules["style-src"] += " 'unsafe-inline'"
        rules["font-src"] += " data:"
    return "; ".join(f"{name} {values}" for name, values in rules.items()).encode()


def safety_headers(policy: bytes) -> tuple[Header, ...]:
    """Return the security headers of a page with this policy."""
    return (
        (b"content-security-policy", policy),
        (b"referrer-policy", b"no-referrer"),
        (b"permissions-policy", b"camera=(self), geolocation=(self), microphone=(), payment=()"),
    )


def map_origins(settings: Settings) -> list[str]:
    """Return the origins from which the operator's map loads its parts."""
    named = [url for url in (settings.map_style, settings.map_tiles) if url is not None]
    origins = [f"{parts.scheme}://{parts.netloc}" for url in named if (parts := urlsplit(url)).netloc]
    return list(dict.fromkeys([*origins, *settings.map_origins]))
