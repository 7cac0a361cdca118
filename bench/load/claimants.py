"""Connected technicians who each claim one job after another: the load of the claims over WebSocket.

The load shares its core with Redis, so it does as little as Python can: raw protocols on uvloop, frames that were built
and masked beforehand, replies distinguished from pushes by their third byte. The report has its own processor time: if
the load fills a core and the gateway does not, the figure is the load's limit.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from collections.abc import Iterator, Sequence
from typing import cast

import msgspec

from bench.load.sockets import framed
from bench.rig import BenchError

_REPLY = ord("i")
"""The third byte of ``{"id":…``; a push begins ``{"type":…`` or ``{"zone":…``."""
_CLOSE = 0x88
_PONG = framed(b"{}")
_WON = b'"job.accepted"'


class Ran(msgspec.Struct):
    """What came of it: claims won, over how many seconds, and how long each took (ms)."""

    claims: int
    elapsed_s: float
    took_ms: list[float]
    cpu_s: float

    @property
    def per_second(self) -> float:
        return self.claims / self.elapsed_s

    def percentile(self, share: float) -> float:
        """Milliseconds within which ``share`` of the claims were answered."""
        took = sorted(self.took_ms)
        return took[min(len(took) - 1, int(len(took) * share))]

    def __add__(self, other: Ran) -> Ran:
        """Both runs as one."""
        whole = (self.claims + other.claims, self.elapsed_s + other.elapsed_s)
        return Ran(*whole, self.took_ms + other.took_ms, self.cpu_s + other.cpu_s)


def claim_frame(number: int, job: str, key: str) -> bytes:
    """A claim as it goes over the wire."""
    return framed(msgspec.json.encode({"id": number, "op": "claim", "job": job, "key": key}))


class Claimant(asyncio.Protocol):
    """One connection. Sends a claim, and the next when it is answered; between runs it reads and waits."""

    def __init__(self) -> None:
        self._rest = b""
        self._todo: Iterator[bytes] = iter(())
        self._sent_at = 0.0
        self._finished: asyncio.Future[None] | None = None
        self._untold = 0
        self._lost = ""
        self.took: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember how to write."""
        self._write = cast("asyncio.Transport", transport).write

    def start(self, frames: Sequence[bytes]) -> asyncio.Future[None]:
        """Begin a run; done when all are answered and the event of each was heard, so that nothing is owed."""
        if self._lost:
            raise BenchError(self._lost)
        self._todo, self._untold, self.took = iter(frames), len(frames), []
        self._finished = asyncio.get_running_loop().create_future()
        self._next(time.perf_counter())
        return self._finished

    def _next(self, now: float) -> None:
        frame = next(self._todo, None)
        if frame is not None:
            self._sent_at = now
            self._write(frame)
        else:
            self._sent_at = 0.0
            self._look()

    def _look(self) -> None:
        if self._sent_at == 0.0 and self._untold == 0 and self._finished and not self._finished.done():
            self._finished.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Walk the frames; on the reply, take the time and go on."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 4:
            size, head = data[at + 1], 2
            if size == 126:
                size, head = data[at + 2] << 8 | data[at + 3], 4
            if end - at < head + size:
                break
            if size > 2 and data[at + head + 2] == _REPLY:
                self._answered(data, at + head, size)
            elif data.startswith(_WON, at + head + 8):
                self._untold -= 1
                self._look()
            elif size == 2:
                self._write(_PONG)
            elif data[at] == _CLOSE:
                self._fail(f"the server closed a claimant's socket: {data[at + head + 2 : at + head + size]!r}")
            at += head + size
        self._rest = data[at:]

    def _answered(self, data: bytes, at: int, size: int) -> None:
        now = time.perf_counter()
        if data.find(b'"ok":', at, at + 32) < 0:
            self._fail(f"a claim was refused: {data[at : at + size]!r}")
            return
        self.took.append(now - self._sent_at)
        self._next(now)

    def connection_lost(self, exc: Exception | None) -> None:
        """The server hung up before it was done, or the benchmark is over."""
        self._fail(f"a claimant's socket was lost: {exc}")

    def _fail(self, why: str) -> None:
        self._lost = self._lost or why
        if self._finished and not self._finished.done():
            self._finished.set_exception(BenchError(why))


async def connected(listeners: Sequence[socket.socket]) -> list[Claimant]:
    """A claimant on each socket, past its ``connect``."""
    loop = asyncio.get_running_loop()
    claimants = []
    for sock in listeners:
        sock.setblocking(False)
        claimants.append((await loop.create_connection(Claimant, sock=sock))[1])
    return claimants


async def compete(claimants: Sequence[Claimant], frames: Sequence[Sequence[bytes]]) -> Ran:
    """Let each send its claims, one at a time, until all are won.

    Raises BenchError at the first refusal.
    """
    gc.collect()
    gc.disable()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one.start(todo) for one, todo in zip(claimants, frames, strict=True)))
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    gc.enable()
    took = [t * 1000 for claimant in claimants for t in claimant.took]
    return Ran(len(took), elapsed, took, cpu)
