"""Thousands of WebSocket clients in one process, each as cheap as Python can make it.

The clients share a core with Redis. So they are plain asyncio protocols on uvloop, distinguish frames by their first
bytes, and parse only what they need. A client opens its socket, does the steps of its handshake, and from then on
answers pings and passes every other payload to ``on_payload``.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar, cast

import msgspec

from bench.load.sockets import read_payload, send_upgrade, text_frame, upgrade_request
from bench.rig import BenchError

CONCURRENT_OPENINGS = 64
"""The number of connections that are being opened at the same time."""
PONG_FRAME = text_frame(b"{}")
_CLOSE_BYTE = 0x88
_REPLY_PREFIX, _PUSH_PREFIX = b'{"id":', b'{"type":'
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class HandshakeStep(NamedTuple):
    """A step of a handshake: the client sends the frame ``send`` (nothing if it is empty), and then waits for a payload
    that begins with ``expect``. Pushes of Callout that come before its reply are ignored.
    """

    send: bytes
    expect: bytes


class Handshake(NamedTuple):
    """How a connection is opened: the upgrade request, and then the steps in their order."""

    request: bytes
    steps: Sequence[HandshakeStep] = ()


def callout_handshake(port: int, token: str, **members: object) -> Handshake:
    """Return Callout's handshake: the upgrade, and ``connect`` with a token. ``members`` are added to that message."""
    connect = msgspec.json.encode({"id": 1, "op": "connect", "token": token, **members})
    request = upgrade_request(f"127.0.0.1:{port}", "/v1/ws", "callout.v1.json")
    return Handshake(request, (HandshakeStep(text_frame(connect), b'{"id":1,"ok"'),))


SOCKETIO_PATH = "/socket.io/?EIO=4&transport=websocket"
NAMESPACE_STEPS = (HandshakeStep(b"", b"0"), HandshakeStep(text_frame(b"40"), b"40"))
"""The handshake of socket.io in the default namespace, after the upgrade."""


class Client(asyncio.Protocol):
    """One connection. The future ``opened`` is done when the handshake is over, and fails if the handshake fails."""

    def __init__(self, handshake: Handshake) -> None:
        self.opened: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.pings = 0
        self.is_closed = False
        self._handshake = handshake
        self._steps = iter(handshake.steps)
        self._step: HandshakeStep | None = None
        self._upgraded = False
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the upgrade request."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        self.write(self._handshake.request)

    def data_received(self, data: bytes) -> None:
        """Parse the frames after the reply to the upgrade."""
        if self._rest:
            data = self._rest + data
        at, end = 0 if self._upgraded else self._skip_upgrade_reply(data), len(data)
        while self._upgraded and end - at >= 2:
            size, head = data[at + 1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                size = int.from_bytes(data[at + 2 : at + head], "big")
            if end - at < head + size:
                break
            if size == 2 and data.startswith(b"{}", at + head):
                self.pings += 1
                self.write(PONG_FRAME)
            elif data[at] == _CLOSE_BYTE:
                self._fail(f"the server closed a socket: {data[at + head + 2 : at + head + size]!r}")
            else:
                self._handle_payload(data, at + head, at + head + size)
            at += head + size
        self._rest = data[at:]

    def _skip_upgrade_reply(self, data: bytes) -> int:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return 0
        self._upgraded = True
        if b" 101 " in data[: data.find(b"\r\n")]:
            self._start_next_step(b"")
        else:
            self._fail(f"no WebSocket: {data[:200]!r}")
            self._transport.abort()
            return len(data)
        return end + 4

    def _handle_payload(self, data: bytes, start: int, end: int) -> None:
        if self._step is None:
            self.on_payload(data, start, end)
        elif data.startswith(self._step.expect, start):
            self._start_next_step(data[start:end])
        elif not (self._step.expect.startswith(_REPLY_PREFIX) and data.startswith(_PUSH_PREFIX, start)):
            self._fail(f"not the answer that was expected: {data[start:end]!r}")

    def _start_next_step(self, reply: bytes) -> None:
        self._step = next(self._steps, None)
        if self._step is None:
            self.on_opened(reply)
        elif self._step.send:
            self.write(self._step.send)

    def on_opened(self, reply: bytes) -> None:
        """Call this when the handshake is complete. ``reply`` is the server's last payload in the handshake."""
        self.opened.set_result(reply)

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Process a payload after the handshake that is not a ping. The base class ignores it."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Record that the connection has ended, on either side."""
        self.is_closed = True
        self._fail(f"a socket was lost: {exc or 'closed'}")

    def _fail(self, reason: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(BenchError(reason))

    def abort(self) -> None:
        """Reset the connection at once, so that no port stays in TIME_WAIT."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self.is_closed:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._transport.abort()


ClientType = TypeVar("ClientType", bound=Client)


async def open_client(port: int, client: ClientType) -> ClientType:
    """Connect the client and return it after its handshake. Raise BenchError when the server refuses, OSError when no
    process listens.
    """
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: client, "127.0.0.1", port)
    try:
        await client.opened
    except asyncio.CancelledError:  # no task waits for the connection any more
        client.abort()
        raise
    return client


async def open_clients(
    port: int, handshakes: Iterable[Handshake], concurrent: int = CONCURRENT_OPENINGS
) -> list[Client]:
    """Open a client for each handshake, ``concurrent`` at a time. Raise BenchError at the first refusal."""
    waiting = iter(handshakes)

    async def open_next() -> list[Client]:
        return [await open_client(port, Client(handshake)) for handshake in waiting]

    return list(itertools.chain(*await asyncio.gather(*(open_next() for _ in range(concurrent)))))


def open_socket(port: int, handshake: Handshake) -> socket.socket:
    """Open a connection for a program that inherits it, and return the socket after its handshake. Raise BenchError
    when the server refuses.
    """
    sock = send_upgrade(port, handshake.request)
    for step in handshake.steps:
        if step.send:
            sock.sendall(step.send)
        reply = read_payload(sock)
        if not reply.startswith(step.expect):
            raise BenchError(f"not the answer that was expected: {reply!r}")
    return sock
