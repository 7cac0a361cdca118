"""Customers who follow the position of their job's technician over WebSockets.

A watcher measures the delay of each position from the time of its fix until the frame is read. A fix has the time of
the device, if the device sent one; here devices and readers have the same clock. Otherwise it has the time at which the
script stored it, so the delay on the way to Redis is not measured.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, TypeVar

import msgspec

from bench.load import swarm
from bench.load.seed import SeededZone, gather_in_batches
from bench.load.swarm import Client, Handshake
from bench.rig import BenchError
from engine.process.signer import Signer, sign_token
from engine.types import UserId

Position = tuple[float, float]
Reader = TypeVar("Reader", bound=Client)
POSITION_PREFIX = b'{"type":"position"'
"""The beginning of the payload of each position."""
SHARING_COMMAND = "depart"
"""The command of ``home_service`` after which the customer sees the technician's position."""
TOKEN_S, TIMEOUT_S = 7200, 60.0


class _Fix(msgspec.Struct):
    lat: float
    lon: float
    at: datetime


class _Frame(msgspec.Struct):
    data: _Fix


_decoder = msgspec.json.Decoder(_Frame)


class WatchedTechnician(NamedTuple):
    """A technician, and where they are when their job is booked."""

    id: str
    lat: float
    lon: float


class Watcher(Client):
    """A customer who follows the technician of one job. ``last`` is the last position that arrived. ``delays_ms`` are
    the delays of the positions that arrived while ``is_measured``.
    """

    def __init__(self, handshake: Handshake, technician: str) -> None:
        super().__init__(handshake)
        self.technician = technician
        self.last: Position | None = None
        self.is_measured = False
        self.delays_ms: list[float] = []
        self._last_at: datetime | None = None

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Record a position. Ignore all other payloads."""
        if not data.startswith(POSITION_PREFIX, start):
            return
        now, fix = time.time(), _decoder.decode(data[start:end]).data
        self.last = fix.lat, fix.lon
        is_new, self._last_at = fix.at != self._last_at, fix.at  # a position is sent again when it becomes stale
        if self.is_measured and is_new:
            self.delays_ms.append((now - fix.at.timestamp()) * 1000)


async def open_watchers(
    zone: SeededZone,
    port: int,
    signer: Signer,
    technicians: Sequence[WatchedTechnician],
    create: Callable[[Handshake, str], Reader],
) -> list[Reader]:
    """Book a job for each of the technicians, who are online. Bring it to a state in which the customer may follow the
    technician's position, and connect the customer. Return the connections in the order of the technicians. ``create``
    makes a connection from its handshake and the technician's id.
    """
    customers = [UserId(f"user_w{number}") for number in range(len(technicians))]
    await gather_in_batches(zone.create_account(customer, "customer") for customer in customers)
    pairs = list(zip(technicians, customers, strict=True))
    await gather_in_batches(_start_shared_job(zone, *pair) for pair in pairs)
    limit = asyncio.Semaphore(swarm.CONCURRENT_OPENINGS)

    async def open_one(technician: WatchedTechnician, customer: UserId) -> Reader:
        async with limit:
            token = sign_token(signer, customer, "customer", name=customer, expires_s=TOKEN_S)
            return await swarm.open_client(port, create(swarm.callout_handshake(port, token), technician.id))

    return list(await asyncio.gather(*(open_one(*pair) for pair in pairs)))


async def _start_shared_job(zone: SeededZone, technician: WatchedTechnician, customer: str) -> None:
    """Book a job at the place of the technician, who claims it and departs."""
    job = await zone.create_job(technician.lat, technician.lon, customer=customer)
    await zone.run(zone.wave_call(job, 1, size=5, radius_m=1_000))
    await zone.run(zone.claim_call(job, technician.id))
    await zone.run(zone.step_call(job, technician.id, SHARING_COMMAND))


async def wait_until_last(watchers: Iterable[Watcher], expected: Mapping[str, Position]) -> None:
    """Wait until the last position of each watcher is the one that ``expected`` has for its technician. Raise
    BenchError after ``TIMEOUT_S``.
    """
    end, lost = time.monotonic() + TIMEOUT_S, list(watchers)
    while lost := [each for each in lost if each.last != expected[each.technician]]:
        if time.monotonic() > end:
            one = lost[0]
            raise BenchError(
                f"{len(lost)} watchers have not received the last position: {one.technician} is at"
                f" {expected[one.technician]}, and its watcher knows {one.last}"
            )
        await asyncio.sleep(0.05)
