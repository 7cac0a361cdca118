"""Web origins, as they are written in the settings and as browsers write them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise_origins(setting: str, origins: Iterable[str]) -> tuple[tuple[str, ...], list[str]]:
    """Return the origins of a setting as browsers write them, and the problems of those that are none."""
    found, problems = list[str](), list[str]()
    for each in origins:
        try:
            found.append(normalise_origin(each))
        except ValueError as error:
            problems.append(f"{setting}: {error}")
    return tuple(found), problems


def normalise_origin(origin: str) -> str:
    """Return a web origin as browsers write it: scheme and host in lower case, no default port, no path.

    Raises ValueError if the text is not an origin.
    """
    try:
        parts = urlsplit(origin.strip())
        host, port = (parts.hostname or "").encode("idna").decode(), parts.port
    except (ValueError, UnicodeError):
        raise ValueError(f"{origin!r} is no origin") from None
    scheme = parts.scheme.lower()
    rest = parts.path.strip("/") or parts.query or parts.fragment or parts.username or parts.password
    if scheme not in _DEFAULT_PORTS or not host or rest or "*" in host:
        raise ValueError(f"{origin!r} is no origin, which looks like https://app.example or http://[::1]:8080")
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" + (f":{port}" if port is not None and port != _DEFAULT_PORTS[scheme] else "")
