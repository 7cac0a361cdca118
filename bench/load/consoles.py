"""Consoles (pages of staff that show the live map of a zone) which follow the map over WebSockets, and technicians who
drive through the city on the map.

The fixes of some drivers are sent over WebSockets of their own, and those of the others are stored by the engine's
script.
"""

from __future__ import annotations

import asyncio
import math
import random
import resource
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bench.load import swarm
from bench.load.seed import ZONE, SeededZone, gather_in_batches
from bench.load.sockets import text_frame
from bench.load.swarm import Client, Handshake
from bench.rig import BenchError
from engine.errors import CalloutError
from engine.process.signer import Signer, sign_token
from engine.rules.fixes import Fix
from engine.store import keys
from engine.store.fix_batches import FixBatches, FixOutcome
from engine.store.technician_zones import TechnicianZones
from engine.types import TechnicianId, UserId

METRES_A_FIX, TIMEOUT_S = 80.0, 60.0
FIXES_A_CALL, FIXES_A_TURN = 64, 8
"""How many fixes one script call stores, and how many are sent over WebSockets in one turn of the event loop. The
second number is small, because in a real city a gateway never finds many fixes in its sockets at once.
"""
DEGREE_M = 111_195.0


class _Moved(msgspec.Struct):
    at: datetime | None = None


class _Delta(msgspec.Struct):
    moved: list[_Moved]


class _Frame(msgspec.Struct):
    data: _Delta


class Console(Client):
    """A console that shows one box of the map. ``whole_ms`` and ``own_ms`` are the delays of the fixes it received."""

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
    """A technician who drives back and forth along a line. ``connection`` is the WebSocket over which they send their
    fixes, if they have one.
    """

    connection: Client | None = None

    def __init__(self, name: str, lat: float, lon: float, draw: random.Random) -> None:
        self.name, self.lat, self.lon = name, lat, lon
        angle = draw.uniform(0, 2 * math.pi)
        self._north, self._east = math.cos(angle) * METRES_A_FIX, math.sin(angle) * METRES_A_FIX
        self._steps = draw.randrange(20)
        self._metres_a_degree = DEGREE_M * math.cos(math.radians(lat))

    def advance(self) -> Fix:
        """Move the driver on, and return their next fix."""
        self._steps += 1
        sign = 1 if self._steps // 20 % 2 else -1
        self.lat += sign * self._north / DEGREE_M
        self.lon += sign * self._east / self._metres_a_degree
        lat, lon = self.position
        return Fix(lat=lat, lon=lon, accuracy=8.0, heading=90.0)

    @property
    def position(self) -> tuple[float, float]:
        """The latitude and longitude of the last fix."""
        return round(self.lat, 6), round(self.lon, 6)


def select_connectable(drivers: Sequence[Driver], spare_files: int) -> Sequence[Driver]:
    """Return the drivers who get a WebSocket: as many as this process may have open files, minus ``spare_files``. The
    server has the same limit of open files.
    """
    return drivers[: max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - spare_files)]


async def connect_drivers(zone: SeededZone, port: int, signer: Signer, drivers: Sequence[Driver]) -> None:
    """Open a WebSocket for each driver."""
    await gather_in_batches(zone.create_account(driver.name, "technician") for driver in drivers)
    waiting = iter(drivers)

    async def open_next() -> None:
        for driver in waiting:
            token = sign_token(signer, UserId(driver.name), "technician", name=driver.name, expires_s=7200)
            driver.connection = await swarm.open_client(port, Client(swarm.callout_handshake(port, token)))

    await asyncio.gather(*(open_next() for _ in range(swarm.CONCURRENT_OPENINGS)))


def _location_frame(fix: Fix) -> bytes:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    position = {"lat": fix.lat, "lon": fix.lon, "accuracy": fix.accuracy, "heading": fix.heading}
    return text_frame(msgspec.json.encode({"op": "location", **position, "at": at}))


class Traffic:
    """The drivers of a city, each of whom sends a fix every ``interval_s`` seconds, evenly, one after the other. The
    few drivers in ``quiet`` do the same in a corner of the map that has no other drivers, as a second measurement.
    """

    def __init__(self, zone: SeededZone, drivers: Sequence[Driver], quiet: Sequence[Driver], interval_s: float) -> None:
        self._drivers, self._quiet, self._interval_s = drivers, quiet, interval_s
        self._batches = FixBatches(zone.store, TechnicianZones(zone.store), ())
        self._place = self._quiet_place = 0

    async def drive(self, until: float) -> int:
        """Send fixes until the monotonic time ``until``, and return their number. It is less than planned if the core
        of the load is too slow.
        """
        drivers, quiet, began = self._drivers, self._quiet, time.monotonic()
        size = FIXES_A_TURN if drivers[0].connection else FIXES_A_CALL
        a_second, sent, quiet_at = len(drivers) / self._interval_s, 0, began
        while (now := time.monotonic()) < until:
            some = [drivers[(self._place + number) % len(drivers)] for number in range(size)]
            self._place += size
            sent += size
            if now >= quiet_at:
                quiet_at = now + self._interval_s / len(quiet)
                some.append(quiet[self._quiet_place % len(quiet)])
                self._quiet_place += 1
            await _send_fixes(self._batches, some)
            await asyncio.sleep(max(0.0, began + sent / a_second - time.monotonic()))
        return sent


async def _send_fixes(batches: FixBatches, drivers: Sequence[Driver]) -> None:
    """Send the next fix of each driver. Wait until the script has stored the fixes of the drivers without a
    WebSocket.
    """
    outcomes: list[asyncio.Future[FixOutcome]] = []
    for driver in drivers:
        if driver.connection is not None:
            if driver.connection.is_closed:
                raise BenchError(f"the socket of {driver.name} was lost")
            driver.connection.write(_location_frame(driver.advance()))
        else:
            outcomes.append(asyncio.get_running_loop().create_future())
            batches.add(TechnicianId(UserId(driver.name)), [driver.advance()], outcomes[-1].set_result, live=True)
    for stored in await asyncio.gather(*outcomes):
        if isinstance(stored, CalloutError):
            raise stored


async def require_stored(zone: SeededZone, drivers: Sequence[Driver]) -> None:
    """Wait until the record of each driver has the position of their last fix. Raise BenchError after ``TIMEOUT_S``."""
    end, missing = time.monotonic() + TIMEOUT_S, list(drivers)
    while missing:
        names = [keys.technician(ZONE, TechnicianId(UserId(driver.name))) for driver in missing]
        rows = await gather_in_batches(zone.store.command("HMGET", name, "lat", "lon") for name in names)
        pairs = zip(missing, rows, strict=True)
        missing = [driver for driver, row in pairs if tuple(map(float, row)) != driver.position]
        if missing and time.monotonic() > end:
            raise BenchError(f"the last fix of {len(missing)} technicians is not stored")
