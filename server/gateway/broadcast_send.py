"""Write one frame to some dozens of sessions, by their sockets in one compiled call or by their transports.

The compiled call (``_send_frame.c``) is there if Callout was built with a C compiler (hatch_build.py). It sends past
the transport of a session, but only while the transport is empty, and what the socket does not accept goes to the
transport. So the order of a session's frames, the limits of its send buffer and the end of its connection are the same
with and without it.

(Rejected: to compile at the first start. A server would need a compiler, and a directory from which it runs what it
wrote there.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from importlib import import_module

from server.gateway.send_buffer import SendBuffer

COMPILED_MODULE = "server.gateway._send_frame"

Send = Callable[[list[SendBuffer], bytes], list[SendBuffer]]
"""A function that writes a frame to those of at most 256 sessions that are ``is_direct``, counts it in their
``written_pushes``, and returns the other sessions.
"""


def plain_descriptor(transport: asyncio.Transport) -> int:
    """Return the descriptor of the transport's socket, or -1 if nothing may be sent past the transport: it encrypts, or
    still holds bytes of the handshake. The descriptor is valid until the protocol's ``connection_lost``.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None or transport.get_write_buffer_size():
        return -1
    return int(sock.fileno())


def send_by_transports(sessions: list[SendBuffer], frame: bytes) -> list[SendBuffer]:
    """Write ``frame`` to each session by its transport. Return the sessions that must queue it instead."""
    others = []
    for session in sessions:
        if session.is_direct:
            session.written_pushes += 1
            session.write(frame)
        else:
            others.append(session)
    return others


def load_send() -> Send:
    """Return ``send_by_sockets`` if the compiled module was built, otherwise ``send_by_transports``."""
    try:
        send_frame = import_module(COMPILED_MODULE).send_frame
    except ImportError:
        return send_by_transports

    def send_by_sockets(sessions: list[SendBuffer], frame: bytes) -> list[SendBuffer]:
        others = []
        for session, sent in send_frame(sessions, frame):
            if sent < 0:
                others.append(session)
            else:
                session.write(frame[sent:])
        return others

    return send_by_sockets
