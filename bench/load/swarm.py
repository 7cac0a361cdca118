"""Thousands of WebSocket clients in one process, each as cheap as Python can make it.

Raw protocols on uvloop, which share a core with Redis. Frames are distinguished by their first bytes, and nothing is
parsed without need. A client opens its socket, sends what its server expects first, and from then on answers pings and
passes every other payload to ``heard``.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar, cast

import msgspec

from bench.load.sockets import framed, upgrade_request
from bench.rig import BenchError

AT_ONCE = 64
"""Connections that are being opened at the same time."""
PONG = framed(b"{}")
_CLOSE = 0x88
_RESET = struct.pack("ii", 1, 0)


class Turn(NamedTuple):
    """A step of the opening talk: ``say`` a frame, if anything, until a payload comes that begins with ``hear``."""

    say: bytes
    hear: bytes


class Opening(NamedTuple):
    """How a server is entered: the upgrade, then turns."""

    request: bytes
    turns: Sequence[Turn] = ()


def callout_opening(port: int, token: str, **more: object) -> Opening:
    """Callout's: the upgrade, and ``connect`` with a token; ``more`` goes into that message."""
    connect = msgspec.json.encode({"id": 1, "op": "connect", "token": token, **more})
    request = upgrade_request(f"127.0.0.1:{port}", "/v1/ws", "callout.v1.json")
    return Opening(request, (Turn(framed(connect), b'{"id":1,"ok"'),))


class Client(asyncio.Protocol):
    """One connection. ``greeted`` is done when the opening talk is over, or failed when that went wrong."""

    def __init__(self, opening: Opening) -> None:
        self.greeted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.pings = 0
        self.gone = False
        self._opening = opening
        self._turns = iter(opening.turns)
        self._turn: Turn | None = None
        self._upgraded = False
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the WebSocket."""
        self._transport = cast("asyncio.Transport", transport)
        self.write = self._transport.write
        self.write(self._opening.request)

    def data_received(self, data: bytes) -> None:
        """Walk the frames, past the answer to the upgrade."""
        if self._rest:
            data = self._rest + data
        at, end = 0 if self._upgraded else self._past_head(data), len(data)
        while self._upgraded and end - at >= 2:
            size, head = data[at + 1], 2
            if size >= 126:
                head = 4 if size == 126 else 10
                size = int.from_bytes(data[at + 2 : at + head], "big")
            if end - at < head + size:
                break
            if size == 2 and data.startswith(b"{}", at + head):
                self.pings += 1
                self.write(PONG)
            elif data[at] == _CLOSE:
                self._fail(f"the server closed a socket: {data[at + head + 2 : at + head + size]!r}")
            else:
                self._take(data, at + head, at + head + size)
            at += head + size
        self._rest = data[at:]

    def _past_head(self, data: bytes) -> int:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return 0
        self._upgraded = True
        if b" 101 " in data[: data.find(b"\r\n")]:
            self._next_turn(b"")
        else:
            self._fail(f"no WebSocket: {data[:200]!r}")
            self._transport.abort()
            return len(data)
        return end + 4

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._turn is None:
            self.heard(data, start, end)
        elif data.startswith(self._turn.hear, start):
            self._next_turn(data[start:end])
        else:
            self._fail(f"not the answer that was expected: {data[start:end]!r}")

    def _next_turn(self, answer: bytes) -> None:
        self._turn = next(self._turns, None)
        if self._turn is None:
            self.welcomed(answer)
        elif self._turn.say:
            self.write(self._turn.say)

    def welcomed(self, answer: bytes) -> None:
        """The talk is over; ``answer`` is the server's last word in it."""
        self.greeted.set_result(answer)

    def heard(self, data: bytes, start: int, end: int) -> None:
        """A payload after the talk, no ping."""

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, from whichever side."""
        self.gone = True
        self._fail(f"a socket was lost: {exc or 'closed'}")

    def _fail(self, why: str) -> None:
        if not self.greeted.done():
            self.greeted.set_exception(BenchError(why))

    def cut(self) -> None:
        """End it at once, without a port left in TIME_WAIT."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None and not self.gone:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._transport.abort()


AClient = TypeVar("AClient", bound=Client)


async def entered(port: int, client: AClient) -> AClient:
    """The client, past its opening talk. Raises BenchError when the server refuses, OSError when none listens."""
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: client, "127.0.0.1", port)
    try:
        await client.greeted
    except asyncio.CancelledError:  # nobody waits for it any more
        client.cut()
        raise
    return client


async def all_entered(port: int, openings: Iterable[Opening], at_once: int = AT_ONCE) -> list[Client]:
    """A client for each opening, some being opened at the same time. Raises BenchError at the first refusal."""
    todo = iter(openings)

    async def work() -> list[Client]:
        return [await entered(port, Client(opening)) for opening in todo]

    return list(itertools.chain(*await asyncio.gather(*(work() for _ in range(at_once)))))
