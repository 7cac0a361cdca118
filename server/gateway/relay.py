"""The relay: tails every zone's log, checks that nothing is missing, and hands each event to memory and hub.

It has a connection of its own and a cursor of its own, so a lost connection to Redis costs a pause, not
an event: it reads on from where it was. What it must never do is skip a gap without a word. Two things
could make one, and both are looked for: the log was trimmed below what was still to be read (the next seq
does not follow), or Redis is in another life (its head is below our cursor, its epoch is not newer than ours, an
epoch of ours is missing, or one began at or below our cursor), looked at after each reconnect and at each empty read,
at least once a second. Either way the zone's memory is dropped, the zone is compared with the archive, and every
session is told to resynchronise. A life that the comparison does not open is not read.

A new epoch that goes on from where the last one ended costs nobody anything, if it is told in time. A push does not
say of which epoch it is, so a client that heard one before it learnt the epoch's name would come back with a cursor
that is no good. Hence everybody is sent the head under the new name before its first event is handed on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic, time

import redis.asyncio as redis
import structlog

from engine.errors import CalloutError
from engine.events import Event
from engine.process.loops import not_cancelled
from engine.runtime import Engine
from engine.store.stream_connection import StreamConnection
from engine.types import Cursor, Epoch, Zone, number_of
from engine.zone import log
from server.gateway.counters import Counters
from server.gateway.hub import SLICE_S, Hub, addressed
from server.gateway.replay_buffer import ReplayBuffer
from server.gateway.zone_stream import ZoneStream

BLOCK_S = 1.0
GRACE_S = 2.0
"""Longer than this without the reply to a read that blocks one second: Redis is stopped or the line is
dead.
"""
DEAF_S = 5.0
COUNT = 500
PAGE = 1_000
CLOSED = Epoch("closed")
"""What ``meta.epoch`` says of a zone that is being rebuilt."""
EVENT_BYTES = 700
"""A small event in memory: how far back before the head it is worth to begin reading."""

logger = structlog.get_logger(__name__)


class StreamReader:
    """What follows in the logs, a piece at a time. Where there is much, the next piece is on its way while one is
    handed on: Redis takes as long to put it together as we to route it.

    Nothing is read ahead while lives are compared: both go over the same connection, in turn.
    """

    def __init__(self, client: StreamConnection) -> None:
        self._client = client
        self._after: dict[Zone, int] = {}
        self._ahead: asyncio.Task[list[Event]] | None = None

    async def next(self, after: dict[Zone, int]) -> list[Event]:
        """The piece that follows ``after``, waiting up to ``BLOCK_S``; empty when nothing came. What was read ahead
        counts only if that is where it begins. Raises as the client does, and TimeoutError.
        """
        ahead, self._ahead = self._ahead, None
        if ahead is None or after != self._after:
            _leave(ahead)
            self._after = after
            return await self._tail()
        return await ahead

    async def begin(self, events: Sequence[Event]) -> None:
        """Ask for the piece after ``events``, which ``next`` gave."""
        self._after = self._after | {event.zone: event.seq for event in events}
        self._ahead = asyncio.create_task(self._tail())
        await asyncio.sleep(0)  # so that the question leaves before the answer to the last one is worked on

    def stop(self) -> None:
        """Leave what was asked for unread."""
        _leave(self._ahead)

    async def _tail(self) -> list[Event]:
        if not self._after:
            await asyncio.sleep(BLOCK_S)
            return []
        async with asyncio.timeout(BLOCK_S + GRACE_S):
            return await log.tail(self._client, self._after, int(BLOCK_S * 1000), COUNT)


class Relay:
    """All zones of a gateway. ``internal`` is called with the events that are for gateways, ``ending`` with each other
    one before it is handed on, where anybody watches a job. ``resync`` is called with the reason when sessions must
    resynchronise, ``renamed`` when they must not, but an epoch began.
    """

    def __init__(
        self,
        engine: Engine,
        hubs: Sequence[Hub],
        counters: Counters,
        *,
        encode: Callable[[Event], bytes],
        internal: Callable[[Event], None],
        ending: Callable[[Event], None],
        resync: Callable[[str], None],
        renamed: Callable[[], None],
    ) -> None:
        settings = engine.settings
        self.tails = {
            Zone(zone): ZoneStream(Zone(zone), ReplayBuffer(Zone(zone), settings.memory_bytes, settings.memory_s))
            for zone in settings.zones
        }
        self.window_read = asyncio.Event()
        """Set once the window of every zone's log was read."""
        self.lag_s = 0.0
        """From the last event's commit to its hand-off, by the two clocks."""
        self._engine = engine
        self._hubs = hubs
        self._counters = counters
        self._encode = encode
        self._internal = internal
        self._ending = ending
        self._resync = resync
        self._renamed = renamed
        self._reach = settings.memory_bytes // EVENT_BYTES
        self._heard_at = monotonic()
        self._checked_at = 0.0
        self._run_id = ""
        self._unopened: set[Zone] = set()
        """Zones that may still be opened in this life of Redis, under a new epoch."""
        self._unannounced = False
        """Whether an epoch began that goes on, and nobody has been told yet."""

    @property
    def loaded(self) -> bool:
        """Whether there is anything to be resumed from yet."""
        return self.window_read.is_set()

    @property
    def disconnected(self) -> bool:
        """Whether it has had no word from Redis for too long to be trusted with clients."""
        return not self.loaded or monotonic() - self._heard_at > DEAF_S

    async def run(self) -> None:
        """Relay for ever, from the cursor onwards after each fault."""
        pause = 0.05
        while not_cancelled():
            began = monotonic()
            try:
                async with contextlib.aclosing(await self._engine.store.open_stream_connection()) as client:
                    await self._listen(client)
            except (redis.RedisError, OSError, CalloutError) as error:
                logger.warning("relay_away", error=str(error) or type(error).__name__, retry_s=round(pause, 2))
            except Exception:  # the task's boundary: a deaf relay that says so is better than a dead one
                logger.exception("relay_failed")
            pause = 0.05 if monotonic() - began > DEAF_S else min(pause * 2, 1.0)
            await asyncio.sleep(pause)

    async def _listen(self, client: StreamConnection) -> None:
        async with asyncio.timeout(GRACE_S):
            self._run_id = await log.run_id(client)
        self._unopened = set(self.tails)
        await self._unchanged(self.tails, client)
        self._heard_at = monotonic() if not self.loaded else self._heard_at
        self.window_read.set()
        reading = StreamReader(client)
        try:
            while not_cancelled():
                events = await reading.next({zone: tail.cursor for zone, tail in self.tails.items() if not tail.shut})
                doubtful = self._doubtful(events)
                if not doubtful and len(events) >= COUNT:
                    await reading.begin(events)
                # Where a life was another than we thought, what was read may be of the one before: it is read again.
                if await self._unchanged(doubtful, client):
                    await self._hand_on(events, client)
                self._heard_at = monotonic()
        finally:
            reading.stop()

    # handing on

    async def _hand_on(self, events: list[Event], client: StreamConnection) -> None:
        """In order, giving the loop back every 2 ms, so that sessions are written to between two events."""
        until = monotonic() + SLICE_S
        for event in events:
            tail = self.tails[event.zone]
            if event.seq != tail.cursor + 1:
                if event.seq > tail.cursor:
                    await self._start_over(tail, client, "trimmed")
                continue
            self._route(tail, event)
            if monotonic() > until:
                tail.tell_waiting()
                await asyncio.sleep(0)
                until = monotonic() + SLICE_S
        if events:
            self._counters.events += len(events)
            now = time()
            self.lag_s = max(0.0, now - events[-1].at / 1000)
            self._counters.lag.add(max(0.0, now - events[0].at / 1000))
            for tail in self.tails.values():
                tail.tell_waiting()

    def _route(self, tail: ZoneStream, event: Event) -> None:
        """One that fails on its way is not read again: some have got it. Everybody is told to resynchronise."""
        tail.memory.add(event)
        tail.cursor = event.seq
        try:
            if event.type.startswith("session."):
                self._internal(event)
            else:
                if any(hub.watched for hub in self._hubs):
                    self._ending(event)
                self.fan_out(event, tail.memory.whole)
        except Exception:  # the boundary of one event: the next ones are still to be handed on
            logger.exception("event_failed", zone=tail.zone, seq=event.seq, type=event.type)
            self._counters.resyncs["failed"] += 1
            self._resync("failed")

    def fan_out(self, event: Event, whole: str) -> None:
        """Deliver ``event`` to the sessions on its channels or on ``whole``, the channel of its zone. The payload is
        encoded once for all hubs, and only if there is a recipient.
        """
        channels = (*addressed(event), whole)
        payload = b""
        for hub in self._hubs:
            recipients = hub.recipients(event.type, channels)
            if recipients:
                payload = payload or self._encode(event)
                hub.deliver(recipients, payload)

    # comparing lives

    def _doubtful(self, events: Sequence[Event]) -> Collection[Zone]:
        """The zones to be compared before ``events`` are handed on: once a second all; else those of which an epoch may
        have begun since we connected, for these may be its first. Not all each time: it is two questions to Redis.
        """
        if not events or monotonic() - self._checked_at > BLOCK_S:
            return self.tails
        return self._unopened and self._unopened.intersection(event.zone for event in events)

    async def _unchanged(self, zones: Collection[Zone], client: StreamConnection) -> bool:
        """Compare ``zones``: are all as we knew them? Where epochs began that go on, everybody is told once of all."""
        if len(zones) == len(self.tails):
            async with asyncio.timeout(GRACE_S):
                await log.check_primary(client)
        try:
            same = [await self._compare(self.tails[zone], client) for zone in zones]
        finally:
            if self._unannounced:
                self._unannounced = False
                self._renamed()
        if len(same) == len(self.tails):
            self._checked_at = monotonic()
        return all(same)

    async def _compare(self, tail: ZoneStream, client: StreamConnection) -> bool:
        """Is the log that we read still the one that we have read, and of the epoch that we know?"""
        async with asyncio.timeout(GRACE_S):
            # Asked before the head: once it was opened, no head is of an older epoch.
            if tail.zone in self._unopened and await log.opened_in(client, tail.zone) == self._run_id:
                self._unopened.discard(tail.zone)
            head = await log.head(client, tail.zone)
        if head.seq < tail.cursor:
            return await self._start_over(tail, client, "rollback")
        was_shut, tail.shut = tail.shut, self._shut(tail, head)
        if tail.shut:
            return True
        if was_shut or tail.epoch == "":  # whoever joined meanwhile did so without this zone
            return await self._start_over(tail, client, "reopened")
        if head.epoch == tail.epoch:
            return True
        async with asyncio.timeout(GRACE_S):
            epochs = await log.epochs(client, tail.zone)
        if not await self._goes_on(tail, client, head.epoch, epochs):
            return await self._start_over(tail, client, "epoch")
        tail.epochs, tail.epoch, self._unannounced = epochs, head.epoch, True
        self._engine.store.note_head(tail.zone, tail.head)
        tail.tell_waiting(everybody=True)
        return False

    def _shut(self, tail: ZoneStream, head: Cursor) -> bool:
        """Whether there is no life to join: none in Redis, or, where we have to begin with one, not that which was
        compared with the archive.
        """
        if head.epoch in ("", CLOSED):
            return True
        zone = self._engine.store.zones[tail.zone]
        return (tail.shut or tail.epoch == "") and not (zone.open and zone.epoch == head.epoch)

    async def _goes_on(
        self, tail: ZoneStream, client: StreamConnection, epoch: Epoch, epochs: Mapping[Epoch, int]
    ) -> bool:
        """Whether ``epoch`` goes on from what was handed on: newer than ours, of the same past, nothing told twice."""
        if number_of(epoch) <= number_of(tail.epoch) or any(epochs.get(e) != first for e, first in tail.epochs.items()):
            return False
        begun = [first for e, first in epochs.items() if e not in tail.epochs]
        return all([await self._continues(tail, client, first) for first in begun])

    async def _continues(self, tail: ZoneStream, client: StreamConnection, first: int) -> bool:
        """Whether the epoch that began at ``first`` goes on from what was handed on.

        Above our cursor it does. Below it, it does if we read its beginning as the log has it: then we
        only read on before we looked, and what we read of the same numbers was not another life's.
        """
        if first > tail.cursor:
            return True
        async with asyncio.timeout(GRACE_S):
            page = await log.window(client, tail.zone, first - 1, 1, first)
        return bool(page) and page[0] == tail.memory.event(first)

    async def _start_over(self, tail: ZoneStream, client: StreamConnection, why: str) -> bool:
        """Drop what is known of the zone, tell the sessions, and read the window of its log as it is now. Gives False:
        nothing is as it was.
        """
        last = tail.head
        tail.memory.clear()  # before the sessions go: none of them may join what was
        tail.epoch, tail.shut = Epoch(""), False
        if self.loaded:
            logger.warning("resynchronise", zone=tail.zone, reason=why, cursor=last.seq, epoch=last.epoch)
            self._counters.resyncs[why] += 1
            self._resync(why)
            # Whoever notices sees to it that the zone is compared with the archive: opened anew, or closed.
            self._engine.store.note_head(tail.zone, last)
            await self._engine.store.reopen(tail.zone, stale=self._engine.store.zones[tail.zone].epoch)
        async with asyncio.timeout(GRACE_S):
            head = await log.head(client, tail.zone)
            epochs = await log.epochs(client, tail.zone)
        shut = self._shut(tail, head)
        tail.cursor = head.seq if shut else max(0, head.seq - self._reach)
        await self._read_window(tail, client, head.seq)
        tail.shut, tail.epochs, tail.epoch = shut, epochs, Epoch("") if shut else head.epoch
        tail.tell_waiting(everybody=True)
        logger.info("relay_window", zone=tail.zone, epoch=tail.epoch, head=tail.cursor, first=tail.memory.first)
        return False

    async def _read_window(self, tail: ZoneStream, client: StreamConnection, head: int) -> None:
        """What the log holds below ``head``, or as much of it as memory may keep."""
        while tail.cursor < head:
            async with asyncio.timeout(GRACE_S):
                page = await log.window(client, tail.zone, tail.cursor, PAGE, head)
            if not page:
                break
            for event in page:
                if event.seq != tail.cursor + 1:
                    tail.memory.clear()
                tail.memory.add(event)
                tail.cursor = event.seq
        tail.cursor = max(tail.cursor, head)


def _leave(task: asyncio.Task[list[Event]] | None) -> None:
    """Nobody will wait for it any more, nor hear how it ended."""
    if task is not None:
        task.cancel()
        task.add_done_callback(lambda task: task.cancelled() or task.exception())
