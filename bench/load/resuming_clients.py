"""Clients that reconnect and resume. Each records the events that it received over all its connections."""

from __future__ import annotations

import asyncio
import random
import time

import msgspec

from bench.load import swarm
from bench.load.seed import ZONE
from bench.load.swarm import Client, Handshake
from bench.rig import BenchError

ATTEMPT_TIMEOUT_S = 20.0
"""The time after which a client gives up an attempt: when more clients connect than are accepted, some never receive a
reply."""

_SEQ_FIELD = b'"seq":'
_EVENT_START = b'{"type"'


class _ZoneReply(msgspec.Struct):
    epoch: str
    seq: int
    recovered: bool
    missed: int = 0


class _ConnectResult(msgspec.Struct):
    zones: dict[str, _ZoneReply]


class _ConnectReply(msgspec.Struct):
    ok: _ConnectResult


class ResumingUser:
    """A user with one connection at a time. ``seqs`` are the sequence numbers of the received events, in the order of
    arrival.
    """

    def __init__(self, port: int, user: str, token: str) -> None:
        self.user = user
        self.seqs: list[int] = []
        self.epoch = ""
        self.cursor = 0
        self.replayed = 0
        self.unrecovered = 0
        """The number of connect replies with ``recovered:false``."""
        self.refused = 0
        """The number of attempts that were refused or timed out."""
        self._port = port
        self._token = token
        self._connection: ResumingConnection | None = None

    async def connect(self) -> None:
        """Connect, with a cursor if there is one, and wait until the missed events have arrived. Raise OSError or
        BenchError if that fails.
        """
        cursors = {ZONE: {"epoch": self.epoch, "seq": self.cursor}} if self.epoch else {}
        handshake = swarm.callout_handshake(self._port, self._token, cursors=cursors)
        self._connection = await swarm.open_client(self._port, ResumingConnection(handshake, self))
        await self._connection.caught_up

    async def resume(self, span_s: float, random_source: random.Random) -> tuple[float, float]:
        """Wait for the loss of the connection, and reconnect until an attempt succeeds. Return the time (of
        ``perf_counter``) at which the user had all missed events, and the seconds of the last attempt.
        """
        assert self._connection is not None
        await self._connection.closed
        while True:
            await asyncio.sleep(random_source.uniform(0, span_s))
            began = time.perf_counter()
            try:
                async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                    await self.connect()
            except (OSError, BenchError):  # TimeoutError is an OSError
                self.refused += 1
                self.abort()
                continue
            now = time.perf_counter()
            return now, now - began

    def abort(self) -> None:
        """Abort the connection and do not reconnect."""
        if self._connection is not None:
            self._connection.abort()


class ResumingConnection(Client):
    """One connection of a user. ``caught_up`` is done when all missed events have arrived, ``closed`` when the
    connection has ended.
    """

    def __init__(self, handshake: Handshake, user: ResumingUser) -> None:
        super().__init__(handshake)
        loop = asyncio.get_running_loop()
        self.caught_up: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._user = user
        self._missed = 0

    def on_opened(self, reply: bytes) -> None:
        """Read from the ``connect`` reply how many missed events follow."""
        zone = msgspec.json.decode(reply, type=_ConnectReply).ok.zones[ZONE]
        user = self._user
        if user.epoch and not zone.recovered:
            user.unrecovered += 1
        user.epoch, self._missed = zone.epoch, zone.missed
        user.replayed += zone.missed
        super().on_opened(reply)
        if not self._missed:
            user.cursor = max(user.cursor, zone.seq)
            self.caught_up.set_result(None)

    def on_payload(self, data: bytes, start: int, end: int) -> None:
        """Record an event, missed or new, or the head of the log."""
        user, at = self._user, data.find(_SEQ_FIELD, start, end) + len(_SEQ_FIELD)
        stop = data.find(b",", at, end)
        user.cursor = int(data[at : stop if stop >= 0 else end - 1])
        if data.startswith(_EVENT_START, start):
            user.seqs.append(user.cursor)
            if self._missed:
                self._missed -= 1
                if not self._missed:
                    self.caught_up.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Complete the futures ``caught_up`` and ``closed``. ``caught_up`` fails if missed events were still
        outstanding.
        """
        super().connection_lost(exc)
        if not self.caught_up.done():
            self.caught_up.set_exception(BenchError("lost before all had come that was missed"))
            self.caught_up.exception()
        self.closed.set_result(None)
