"""Clients that come back: what each received over all its connections, and how it resumes after a loss."""

from __future__ import annotations

import asyncio
import random
import time

import msgspec

from bench.load import swarm
from bench.load.seed import ZONE
from bench.load.swarm import Client, Opening
from bench.rig import BenchError

TRY_S = 20.0
"""After which a client gives a try up: where more come than are let in, some are never answered at all."""

_SEQ = b'"seq":'
_EVENT = b'{"type"'


class _Zone(msgspec.Struct):
    epoch: str
    seq: int
    recovered: bool
    missed: int = 0


class _Ok(msgspec.Struct):
    zones: dict[str, _Zone]


class _Welcome(msgspec.Struct):
    ok: _Ok


class Person:
    """One user with one connection at a time. ``seqs`` are those of his events, in the order in which they came."""

    def __init__(self, port: int, user: str, token: str) -> None:
        self.user = user
        self.seqs: list[int] = []
        self.epoch = ""
        self.cursor = 0
        self.replayed = 0
        self.unrecovered = 0
        """Times that he was told ``recovered:false``."""
        self.refused = 0
        """Tries that failed: refused, or given up."""
        self._port = port
        self._token = token
        self._ear: Ear | None = None

    async def connect(self) -> None:
        """Enter, with a cursor if there is one, and hear what was missed. Raises OSError, BenchError."""
        cursors = {ZONE: {"epoch": self.epoch, "seq": self.cursor}} if self.epoch else {}
        opening = swarm.callout_opening(self._port, self._token, cursors=cursors)
        self._ear = await swarm.entered(self._port, Ear(opening, self))
        await self._ear.whole

    async def come_back(self, span_s: float, chance: random.Random) -> tuple[float, float]:
        """After the loss: try until it goes well. When he was whole again, and how long the last try took (s)."""
        assert self._ear is not None
        await self._ear.lost
        while True:
            await asyncio.sleep(chance.uniform(0, span_s))
            began = time.perf_counter()
            try:
                async with asyncio.timeout(TRY_S):
                    await self.connect()
            except (OSError, BenchError):  # TimeoutError is an OSError
                self.refused += 1
                self.cut()
                continue
            now = time.perf_counter()
            return now, now - began

    def cut(self) -> None:
        """Go for good."""
        if self._ear is not None:
            self._ear.cut()


class Ear(Client):
    """One of his connections. ``whole`` is done when all that was missed has come, ``lost`` at the end."""

    def __init__(self, opening: Opening, person: Person) -> None:
        super().__init__(opening)
        loop = asyncio.get_running_loop()
        self.whole: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[None] = loop.create_future()
        self._person = person
        self._missed = 0

    def welcomed(self, answer: bytes) -> None:
        """The reply to ``connect``: how many events follow that were missed."""
        zone = msgspec.json.decode(answer, type=_Welcome).ok.zones[ZONE]
        person = self._person
        if person.epoch and not zone.recovered:
            person.unrecovered += 1
        person.epoch, self._missed = zone.epoch, zone.missed
        person.replayed += zone.missed
        super().welcomed(answer)
        if not self._missed:
            person.cursor = max(person.cursor, zone.seq)
            self.whole.set_result(None)

    def heard(self, data: bytes, start: int, end: int) -> None:
        """An event, missed or new, or a head."""
        person, at = self._person, data.find(_SEQ, start, end) + len(_SEQ)
        stop = data.find(b",", at, end)
        person.cursor = int(data[at : stop if stop >= 0 else end - 1])
        if data.startswith(_EVENT, start):
            person.seqs.append(person.cursor)
            if self._missed:
                self._missed -= 1
                if not self._missed:
                    self.whole.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        super().connection_lost(exc)
        if not self.whole.done():
            self.whole.set_exception(BenchError("lost before all had come that was missed"))
            self.whole.exception()
        self.lost.set_result(None)
