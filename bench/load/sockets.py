"""A blocking WebSocket client in a few lines: it opens the sockets that ``reader`` then inherits.

It never reads past the frame that it wants. So the following bytes are still in the kernel when the socket is handed
over; a library's buffered reader would keep the beginning of the next frame.
"""

from __future__ import annotations

import base64
import os
import socket

from bench.rig import BenchError

TEXT = 0x81
_HEAD_END = b"\r\n\r\n"


def framed(payload: bytes) -> bytes:
    """A client's text frame. Its mask is zero: allowed, and the server unmasks it like any other."""
    size = len(payload)
    head = bytes([TEXT, 0x80 | size]) if size < 126 else bytes([TEXT, 0xFE, size >> 8, size & 0xFF])
    return head + bytes(4) + payload


def upgrade_request(host: str, path: str, protocol: str | None = None) -> bytes:
    """The HTTP request that asks for a WebSocket at ``path``."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13"]
    if protocol:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return "\r\n".join([*lines, "", ""]).encode()


def connected(port: int) -> socket.socket:
    """A TCP connection to this machine, without Nagle's delay."""
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def opened(port: int, path: str, protocol: str | None = None) -> socket.socket:
    """A WebSocket past its upgrade. Raises BenchError when the server does not agree to it."""
    sock = connected(port)
    sock.sendall(upgrade_request(f"127.0.0.1:{port}", path, protocol))
    head = _read_head(sock)
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise BenchError(f"no WebSocket at {path}: {head[:200]!r}")
    return sock


def _read_head(sock: socket.socket) -> bytes:
    while True:
        seen = sock.recv(65536, socket.MSG_PEEK)
        end = seen.find(_HEAD_END)
        if end >= 0:
            return exactly(sock, end + len(_HEAD_END))
        if not seen or len(seen) > 60000:
            raise BenchError(f"the server answered the upgrade with {seen[:200]!r}")


def exactly(sock: socket.socket, size: int) -> bytes:
    """The next ``size`` bytes and not one more. Raises BenchError when the server closes before."""
    parts = b""
    while len(parts) < size:
        got = sock.recv(size - len(parts))
        if not got:
            raise BenchError("the server closed a socket while it was being opened")
        parts += got
    return parts


def next_payload(sock: socket.socket) -> bytes:
    """The payload of the next frame. Raises BenchError when it is a close."""
    first, size = exactly(sock, 2)
    if size >= 126:
        size = int.from_bytes(exactly(sock, 2 if size == 126 else 8))
    payload = exactly(sock, size)
    if first & 0x0F == 8:
        raise BenchError(f"the server closed: {payload!r}")
    return payload


def drained(sock: socket.socket) -> bytes:
    """What has arrived by now, at least something, taken off the socket."""
    return sock.recv(65536)
