"""A blocking WebSocket client in a few lines: it opens the sockets that the C program ``reader`` then inherits.

It never reads beyond the frame that it needs. So the following bytes are still in the kernel when the socket is
inherited; a library's buffered reader would hold the beginning of the next frame.
"""

from __future__ import annotations

import base64
import os
import socket

from bench.rig import BenchError

TEXT_FRAME_BYTE = 0x81
_HEAD_END = b"\r\n\r\n"


def text_frame(payload: bytes) -> bytes:
    """Return a client's text frame. Its mask is zero, which is allowed: the server unmasks it like any other."""
    size = len(payload)
    head = (
        bytes([TEXT_FRAME_BYTE, 0x80 | size]) if size < 126 else bytes([TEXT_FRAME_BYTE, 0xFE, size >> 8, size & 0xFF])
    )
    return head + bytes(4) + payload


def upgrade_request(host: str, path: str, protocol: str | None = None) -> bytes:
    """Return the HTTP request that requests a WebSocket at ``path``."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}", "Sec-WebSocket-Version: 13"]
    if protocol:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    return "\r\n".join([*lines, "", ""]).encode()


def open_tcp(port: int) -> socket.socket:
    """Open a TCP connection to this machine, without Nagle's delay."""
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def open_websocket(port: int, path: str, protocol: str | None = None) -> socket.socket:
    """Open a WebSocket, and return its socket after the upgrade. Raise BenchError when the server refuses the
    upgrade.
    """
    return send_upgrade(port, upgrade_request(f"127.0.0.1:{port}", path, protocol))


def send_upgrade(port: int, request: bytes) -> socket.socket:
    """Connect, send the request for a WebSocket, and return the socket after the upgrade. Raise BenchError when the
    server refuses the upgrade.
    """
    sock = open_tcp(port)
    sock.sendall(request)
    head = _read_head(sock)
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise BenchError(f"no WebSocket for {request[:100]!r}: {head[:200]!r}")
    return sock


def _read_head(sock: socket.socket) -> bytes:
    while True:
        data = sock.recv(65536, socket.MSG_PEEK)
        end = data.find(_HEAD_END)
        if end >= 0:
            return read_exactly(sock, end + len(_HEAD_END))
        if not data or len(data) > 60000:
            raise BenchError(f"the server answered the upgrade with {data[:200]!r}")


def read_exactly(sock: socket.socket, size: int) -> bytes:
    """Return the next ``size`` bytes and read no further. Raise BenchError when the server closes before."""
    parts = b""
    while len(parts) < size:
        data = sock.recv(size - len(parts))
        if not data:
            raise BenchError("the server closed a socket while it was being opened")
        parts += data
    return parts


def read_payload(sock: socket.socket) -> bytes:
    """Return the payload of the next frame. Raise BenchError when it is a close frame."""
    first, size = read_exactly(sock, 2)
    if size >= 126:
        size = int.from_bytes(read_exactly(sock, 2 if size == 126 else 8))
    payload = read_exactly(sock, size)
    if first & 0x0F == 8:
        raise BenchError(f"the server closed: {payload!r}")
    return payload


def read_available(sock: socket.socket) -> bytes:
    """Wait until the socket has bytes to read, and return up to 65,536 of them."""
    return sock.recv(65536)
