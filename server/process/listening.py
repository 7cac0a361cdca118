"""The sockets on which a server listens."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from engine.process.datadir import CannotStart
from engine.process.settings import Settings

LISTEN_BACKLOG = 2048
SEND_BUFFER_BYTES = 64 * 1024
"""The send buffer in bytes. It is set on the listening socket, and each connection inherits it. With the kernel's
default a dead client costs 4 MB before a write blocks, with this value about 300 KB.
"""


@contextmanager
def bind_socket(host: str, port: int) -> Iterator[socket.socket]:
    """Return a socket bound to ``host`` and ``port`` (0: a free port) that does not listen yet. Raises CannotStart."""
    if not 0 <= port <= 65535:  # getaddrinfo would take it modulo 65536
        raise CannotStart(f"cannot listen on {host}:{port}: a port is at most 65535")
    with _convert_listen_errors(host, port):
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with _convert_listen_errors(host, port):
            sock.bind(address)
        yield sock


@contextmanager
def bind_metrics_socket(settings: Settings) -> Iterator[socket.socket | None]:
    """Return the socket of ``metrics_port``, None if it is not set. Raises CannotStart."""
    if settings.metrics_port is None:
        yield None
        return
    with bind_socket(settings.metrics_host, settings.metrics_port) as sock:
        yield sock


def start_listening(sock: socket.socket) -> None:
    """Listen. Raises CannotStart: two sockets may bind with SO_REUSEADDR, but only one may listen."""
    host, port, *_ = sock.getsockname()
    with _convert_listen_errors(host, port):
        sock.listen(LISTEN_BACKLOG)


@contextmanager
def _convert_listen_errors(host: str, port: int) -> Iterator[None]:
    """Convert an OSError of binding or listening into CannotStart with a message of one line."""
    try:
        yield
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {host}:{port}: {error.strerror}; give another --port (0: a free one)"
        ) from error


def url_of(sock: socket.socket) -> str:
    """Return the URL under which a client on this machine reaches the socket."""
    host, port, *_ = sock.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
