"""The addresses at which people reach a demo."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

ANY_PUBLIC_ADDRESS = ("192.0.2.1", 9)
"""An address for documentation (RFC 5737). A UDP socket that connects to it sends nothing."""


class Reach(NamedTuple):
    """Which callers a demo answers. ``is_lan``: the local network. ``has_tls``: also with TLS. ``is_open``: the
    one-click logins also for the local network.
    """

    is_lan: bool = False
    has_tls: bool = False
    is_open: bool = False


def local_address() -> str:
    """Return the address of this machine in its network; 127.0.0.1 if it is in none."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(ANY_PUBLIC_ADDRESS)
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def lan_url(url: str) -> str:
    """Return the URL with which other devices reach a server of this machine."""
    return f"http://{local_address()}:{urlsplit(url).port}"
