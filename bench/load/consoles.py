"""Consoles that follow a zone's map over WebSockets, and technicians who drive through the city that they show."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from datetime import datetime

import msgspec

from bench.load.seed import SeededZone
from bench.load.swarm import Client, Handshake
from engine.errors import CalloutError
from engine.rules.fixes import Fix
from engine.store.fix_batches import FixBatches, FixOutcome
from engine.types import TechnicianId, UserId

METRES_A_FIX = 80.0
FIXES_A_CALL = 64
DEGREE_M = 111_195.0


class _Moved(msgspec.Struct):
    at: datetime | None = None


class _Delta(msgspec.Struct):
    moved: list[_Moved]


class _Frame(msgspec.Struct):
    data: _Delta


class Console(Client):
    """A console that looks at one box. ``whole_ms`` and ``own_ms`` are the delays of the fixes in its frames."""

    def __init__(self, handshake: Handshake, every_s: float) -> None:
        super().__init__(handshake)
        self.every_s = every_s
        self.is_measured = False
        self.frames = self.bytes = self.snapshots = 0
        self.whole_ms: list[float] = []
        self.own_ms: list[float] = []
        self._frame_at = 0.0

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Record the delays of a frame of the map."""
        now = time.time()
        if not data.startswith(b'{"type":"map.', start):
            return
        allowed_at, self._frame_at = self._frame_at + self.every_s, now
        if data.startswith(b'{"type":"map.snapshot', start):
            self.snapshots += 1
        elif self.is_measured:
            self.frames += 1
            self.bytes += end - start
            for each in _decoder.decode(data[start:end]).data.moved:
                if each.at is not None:
                    at = each.at.timestamp()
                    self.whole_ms.append((now - at) * 1000)
                    self.own_ms.append((now - max(at, allowed_at)) * 1000)


_decoder = msgspec.json.Decoder(_Frame)


class Driver:
    """A technician who drives back and forth along a line."""

    def __init__(self, name: str, lat: float, lon: float, draw: random.Random) -> None:
        self.name, self.lat, self.lon = name, lat, lon
        angle = draw.uniform(0, 2 * math.pi)
        self._north, self._east = math.cos(angle) * METRES_A_FIX, math.sin(angle) * METRES_A_FIX
        self._steps = draw.randrange(20)
        self._metres_a_degree = DEGREE_M * math.cos(math.radians(lat))

    def advance(self) -> Fix:
        """Return the next fix."""
        self._steps += 1
        sign = 1 if self._steps // 20 % 2 else -1
        self.lat += sign * self._north / DEGREE_M
        self.lon += sign * self._east / self._metres_a_degree
        return Fix(lat=round(self.lat, 6), lon=round(self.lon, 6), accuracy=8.0, heading=90.0)


async def drive(
    zone: SeededZone, drivers: Sequence[Driver], quiet: Sequence[Driver], interval_s: float, until: float
) -> int:
    """Store a fix of each driver every ``interval_s`` seconds, evenly, until the monotonic time ``until``. Return the
    number of fixes: fewer where the load's core does not suffice.
    """
    batches, loop = FixBatches(zone.store), asyncio.get_running_loop()
    calls, turn, began = len(drivers) / FIXES_A_CALL / interval_s, 0, time.monotonic()
    quiet_at = began
    while (now := time.monotonic()) < until:
        start = turn * FIXES_A_CALL % len(drivers)
        some = drivers[start : start + FIXES_A_CALL]
        if now >= quiet_at:
            quiet_at = now + interval_s / len(quiet)
            some = [*some[:-1], quiet[turn % len(quiet)]]
        outcomes: list[asyncio.Future[FixOutcome]] = [loop.create_future() for _ in some]
        for driver, outcome in zip(some, outcomes, strict=True):
            batches.add(TechnicianId(UserId(driver.name)), [driver.advance()], outcome.set_result, live=True)
        for stored in await asyncio.gather(*outcomes):
            if isinstance(stored, CalloutError):
                raise stored
        turn += 1
        await asyncio.sleep(max(0.0, began + turn / calls - time.monotonic()))
    return turn * FIXES_A_CALL
