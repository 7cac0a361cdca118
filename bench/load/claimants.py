"""Connected technicians who claim one job after another: the load of the claims over WebSocket.

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

from bench.load.sockets import text_frame
from bench.rig import BenchError

_REPLY_BYTE = ord("i")
"""The third byte of a reply, ``{"id":…``. A push begins with ``{"type":…`` or ``{"zone":…``."""
_CLOSE_BYTE = 0x88
_PONG_FRAME = text_frame(b"{}")
_ACCEPTED_TYPE = b'"job.accepted"'


class ClaimTimes(msgspec.Struct):
    """The result of a run: the number of successful claims, the seconds of the run, the milliseconds of each claim, and
    the processor seconds of the load.
    """

    claims: int
    elapsed_s: float
    took_ms: list[float]
    cpu_s: float

    @property
    def per_second(self) -> float:
        return self.claims / self.elapsed_s

    def percentile(self, share: float) -> float:
        """Return the milliseconds within which the part ``share`` (0 to 1) of the claims received their replies."""
        times_ms = sorted(self.took_ms)
        return times_ms[min(len(times_ms) - 1, int(len(times_ms) * share))]

    def __add__(self, other: ClaimTimes) -> ClaimTimes:
        """Return the claims and times of two runs together."""
        totals = (self.claims + other.claims, self.elapsed_s + other.elapsed_s)
        return ClaimTimes(*totals, self.took_ms + other.took_ms, self.cpu_s + other.cpu_s)


def claim_frame(number: int, job: str, key: str) -> bytes:
    """Return the WebSocket frame of a claim."""
    return text_frame(msgspec.json.encode({"id": number, "op": "claim", "job": job, "key": key}))


class Claimant(asyncio.Protocol):
    """One connection. It sends a claim, and the next one after the reply. Between runs it only reads."""

    def __init__(self) -> None:
        self._rest = b""
        self._frames: Iterator[bytes] = iter(())
        self._sent_at = 0.0
        self._finished: asyncio.Future[None] | None = None
        self._events_due = 0
        self._error = ""
        self.took: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport's write function."""
        self._write = cast("asyncio.Transport", transport).write

    def start_run(self, frames: Sequence[bytes]) -> asyncio.Future[None]:
        """Start sending ``frames``. The returned future is done when each claim has its reply and its event, so that
        nothing is outstanding.
        """
        if self._error:
            raise BenchError(self._error)
        self._frames, self._events_due, self.took = iter(frames), len(frames), []
        self._finished = asyncio.get_running_loop().create_future()
        self._send_next(time.perf_counter())
        return self._finished

    def _send_next(self, now: float) -> None:
        frame = next(self._frames, None)
        if frame is not None:
            self._sent_at = now
            self._write(frame)
        else:
            self._sent_at = 0.0
            self._finish_if_complete()

    def _finish_if_complete(self) -> None:
        if self._sent_at == 0.0 and self._events_due == 0 and self._finished and not self._finished.done():
            self._finished.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Parse the frames. On a reply, record the time and send the next claim."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 4:
            size, head = data[at + 1], 2
            if size == 126:
                size, head = data[at + 2] << 8 | data[at + 3], 4
            if end - at < head + size:
                break
            if size > 2 and data[at + head + 2] == _REPLY_BYTE:
                self._on_reply(data, at + head, size)
            elif data.startswith(_ACCEPTED_TYPE, at + head + 8):
                self._events_due -= 1
                self._finish_if_complete()
            elif size == 2:
                self._write(_PONG_FRAME)
            elif data[at] == _CLOSE_BYTE:
                self._fail(f"the server closed a claimant's socket: {data[at + head + 2 : at + head + size]!r}")
            at += head + size
        self._rest = data[at:]

    def _on_reply(self, data: bytes, received_at: int, size: int) -> None:
        now = time.perf_counter()
        if data.find(b'"ok":', received_at, received_at + 32) < 0:
            self._fail(f"a claim was refused: {data[received_at : received_at + size]!r}")
            return
        self.took.append(now - self._sent_at)
        self._send_next(now)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the run if one is under way: the server closed the connection."""
        self._fail(f"a claimant's socket was lost: {exc}")

    def _fail(self, reason: str) -> None:
        self._error = self._error or reason
        if self._finished and not self._finished.done():
            self._finished.set_exception(BenchError(reason))


async def create_claimants(listeners: Sequence[socket.socket]) -> list[Claimant]:
    """Return a claimant for each socket, on which ``connect`` was already answered."""
    loop = asyncio.get_running_loop()
    claimants = []
    for sock in listeners:
        sock.setblocking(False)
        claimants.append((await loop.create_connection(Claimant, sock=sock))[1])
    return claimants


async def run_claims(claimants: Sequence[Claimant], frames: Sequence[Sequence[bytes]]) -> ClaimTimes:
    """Let each claimant send its claims, one at a time, until all have succeeded.

    Raise BenchError at the first refusal.
    """
    gc.collect()
    gc.disable()
    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(one.start_run(todo) for one, todo in zip(claimants, frames, strict=True)))
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    gc.enable()
    times_ms = [t * 1000 for claimant in claimants for t in claimant.took]
    return ClaimTimes(len(times_ms), elapsed, times_ms, cpu)
