"""Customers who follow their technician on the map: how long a fix takes from the technician's socket to the customer's
socket.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from bench.load import swarm
from bench.load.openloop import SEND_PAUSE_S
from bench.load.seed import SeededZone, gather_in_batches, member_id, squad_position
from bench.load.sockets import text_frame
from bench.load.swarm import Client
from bench.load.watchers import POSITION_PREFIX, WatchedTechnician, open_watchers
from bench.questions.wave import offset_position
from bench.rig import BenchError, Rig
from engine.process.signer import Signer, sign_token
from engine.types import UserId

METRES_A_FIX = 10.0
MIN_INTERVAL_S = 0.5
"""The shortest time between two fixes of one technician: a gateway sends at most five positions of a job a second."""
LAST_WAIT_S = 1.0
MIN_RECEIVED_SHARE = 0.9
"""The share of the fixes that must arrive: the server may drop positions, but drops almost none."""


class Follower(Client):
    """The connection of a customer. ``due`` is the time of the technician's last fix, None once it has arrived."""

    due: float | None = None

    def __init__(self, handshake: swarm.Handshake, delays_ms: list[float]) -> None:
        super().__init__(handshake)
        self._delays_ms = delays_ms

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Record the delay of a fix when its position arrives at the customer."""
        if self.due is not None and data.startswith(POSITION_PREFIX, start):
            self._delays_ms.append((time.perf_counter() - self.due) * 1000)
            self.due = None


class TrackedJob:
    """A job whose technician is on the way: both sides are connected, and the technician drives away to the north."""

    def __init__(self, place: int, technician: Client, follower: Follower) -> None:
        self._place, self._technician, self.follower = squad_position(place), technician, follower
        self._fixes = 0

    def send_fix(self, due: float) -> None:
        """Send the next fix, which was due at the time ``due``."""
        self._fixes += 1
        lat, lon = offset_position(self._place, self._fixes * METRES_A_FIX, 0)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        fix = {"op": "location", "lat": round(lat, 6), "lon": round(lon, 6), "at": at, "accuracy": 8.5, "speed": 10.0}
        self.follower.due = due
        self._technician.write(text_frame(msgspec.json.encode(fix)))


class TrackedJobs:
    """The jobs that are followed, and the delays of their positions."""

    def __init__(self) -> None:
        self._jobs: list[TrackedJob] = []
        self._delays_ms: list[float] = []

    async def connect(self, rig: Rig, zone: SeededZone, port: int, count: int) -> None:
        """Book ``count`` jobs, let their technicians depart, and connect both sides of each."""
        technicians = [WatchedTechnician(member_id(place), *squad_position(place)) for place in range(count)]
        await gather_in_batches(zone.create_technician(*technician) for technician in technicians)
        signer = Signer.load_or_create(rig.folder / "data" / "signing.key")
        followers = await open_watchers(zone, port, signer, technicians, self._create_follower)
        for place, (technician, follower) in enumerate(zip(technicians, followers, strict=True)):
            await zone.create_account(technician.id, "technician")
            token = sign_token(signer, UserId(technician.id), "technician", name=technician.id)
            client = await swarm.open_client(port, Client(swarm.callout_handshake(port, token)))
            self._jobs.append(TrackedJob(place, client, follower))

    def _create_follower(self, handshake: swarm.Handshake, _: str) -> Follower:
        return Follower(handshake, self._delays_ms)

    async def measure(self, rate: float, seconds: float) -> Sequence[float]:
        """Send ``rate`` fixes a second at fixed times, by one technician after the other. Return the milliseconds of
        each until its position has arrived. Raise BenchError if fewer than ``MIN_RECEIVED_SHARE`` of them arrive.
        """
        rate = min(rate, len(self._jobs) / MIN_INTERVAL_S)
        self._delays_ms.clear()
        began, sent, count = time.perf_counter(), 0, int(rate * seconds)
        gc.collect()
        gc.disable()
        while sent < count:
            due = min(count, int((time.perf_counter() - began) * rate) + 1)
            for number in range(sent, due):
                self._jobs[number % len(self._jobs)].send_fix(began + number / rate)
            sent = due
            await asyncio.sleep(SEND_PAUSE_S)
        for _ in range(int(LAST_WAIT_S / SEND_PAUSE_S)):
            if len(self._delays_ms) == count:
                break
            await asyncio.sleep(SEND_PAUSE_S)
        gc.enable()
        if len(self._delays_ms) < MIN_RECEIVED_SHARE * count:
            raise BenchError(f"{len(self._delays_ms)} positions of {count} fixes arrived")
        return list(self._delays_ms)
