"""Connected technicians who send fixes: the load of the positions over WebSocket.

Every technician sends one fix after the other on a line of their own, as an app does while its owner drives. A *pass*
is one fix of every technician. Only one technician in ``ANSWERED_EVERY`` asks for replies; they show that the pass was
stored. At most two passes are under way, so that a server never finds more than two fixes of one socket, as in a real
city.
"""

from __future__ import annotations

import math
import random
import socket
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from bench.load import sockets
from bench.questions.wave import CITY_CORNER, offset_position
from bench.rig import BenchError

ANSWERED_EVERY = 100
"""One technician out of this many asks for replies."""
PASSES_UNDER_WAY = 2
TIMEOUT_S = 30.0

Position = tuple[float, float]


class FixTimes(NamedTuple):
    """The number of fixes, the seconds of the run, and the processor seconds of the load."""

    fixes: int
    elapsed_s: float
    load_s: float

    @property
    def per_second(self) -> float:
        return self.fixes / self.elapsed_s


class Mover:
    """A technician who drives straight on, ``step_m`` metres between two fixes."""

    def __init__(self, name: str, draw: random.Random, side_m: float, step_m: float) -> None:
        self.name = name
        self._north, self._east = draw.uniform(0, side_m), draw.uniform(0, side_m)
        direction = draw.uniform(0, 2 * math.pi)
        self._step = step_m * math.cos(direction), step_m * math.sin(direction)

    def advance(self) -> Position:
        """Move the technician one step of ``step_m`` metres, and return the new position."""
        self._north += self._step[0]
        self._east += self._step[1]
        lat, lon = offset_position(CITY_CORNER, self._north, self._east)
        return round(lat, 6), round(lon, 6)


class FixPasses:
    """The frames of several passes, built beforehand. A pass is one fix of each mover."""

    def __init__(self, movers: Sequence[Mover], passes: int, first_id: int) -> None:
        self.movers = movers
        self._first_id = first_id
        began = time.time()
        self.frames = [
            [self._frame(mover, place, number, began) for place, mover in enumerate(movers)] for number in range(passes)
        ]

    def _frame(self, mover: Mover, place: int, number: int, began: float) -> bytes:
        lat, lon = mover.advance()
        # The time of each fix is later than in the pass before, and never so old that the server would suspect the
        # clock of the device.
        at = datetime.fromtimestamp(began + number / 1000, UTC).isoformat(timespec="milliseconds")
        fix = {"op": "location", "lat": lat, "lon": lon, "at": at, "accuracy": 8.5, "speed": 6.1, "heading": 92.5}
        asks = {"id": self._first_id + number} if requests_reply(place) else {}
        return sockets.text_frame(msgspec.json.encode({**fix, **asks}))

    def run(self, listeners: Sequence[socket.socket]) -> FixTimes:
        """Send all passes as fast as the server stores them, and return the times. Raise BenchError if a fix is
        refused.
        """
        senders = [sock.send for sock in listeners]
        answered = [sock for place, sock in enumerate(listeners) if requests_reply(place)]
        began, cpu = time.perf_counter(), time.process_time()
        for number, frames in enumerate(self.frames):
            if number >= PASSES_UNDER_WAY:
                self._wait(answered, number - PASSES_UNDER_WAY)
            _send_pass(senders, frames)
        for number in range(max(0, len(self.frames) - PASSES_UNDER_WAY), len(self.frames)):
            self._wait(answered, number)
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
        return FixTimes(len(self.frames) * len(listeners), elapsed, cpu)

    def _wait(self, answered: Sequence[socket.socket], number: int) -> None:
        """Wait for the replies to one pass over all technicians."""
        reply = b'{"id":%d,' % (self._first_id + number)
        for sock in answered:
            while not (payload := sockets.read_payload(sock)).startswith(reply):
                pass
            if payload != reply + b'"ok":{}}':
                raise BenchError(f"a fix was refused: {payload[:300]!r}")


def requests_reply(place: int) -> bool:
    """Return whether the technician at this place in the list asks for replies."""
    return place % ANSWERED_EVERY == ANSWERED_EVERY - 1


def _send_pass(senders: Sequence[Callable[[bytes], int]], frames: Sequence[bytes]) -> None:
    for send, frame in zip(senders, frames, strict=True):
        if send(frame) != len(frame):
            raise BenchError("a socket took only a part of a fix: the server does not read")
