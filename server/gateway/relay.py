"""The relay tails the log of every zone, checks that nothing is missing, and hands events to replay buffers and hubs.

The relay has its own connection and its own cursor. So a lost connection to Redis costs a pause, not an event: the
relay continues at its cursor. It must never pass over a gap silently. A gap has two possible causes, and the relay
checks for both:

- The log was trimmed below the cursor: the next seq does not follow.
- Redis holds another history: its head is below the cursor, its epoch is not newer, a known epoch is missing, or an
  unknown one began at or below the cursor. This is checked after each reconnect and once a second.

In both cases the zone's replay buffer is cleared, the zone is compared with the archive, and every session is closed to
resynchronise. If this comparison does not open the zone, its log is not read.

A new epoch that continues the last one needs no resynchronisation, if clients receive it in time. A push does not name
its epoch. A client that gets a push before it has the new epoch would reconnect with a cursor that cannot be used.
Therefore every session is sent the head under the new epoch before the first event of that epoch is handed on.
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
from engine.types import Cursor, Epoch, Zone, epoch_number
from engine.zone import acknowledged_events, log
from server.gateway.chat_events import MESSAGE_TYPE, deliver_without_text
from server.gateway.counters import Counters
from server.gateway.frames import INTERNAL_PREFIXES
from server.gateway.hub import TIME_SLICE_S, Hub, channels_in_hub
from server.gateway.replay_buffer import ReplayBuffer
from server.gateway.stream_reader import MAX_READ_EVENTS, REPLY_TIMEOUT_S, StreamReader
from server.gateway.zone_group import ZoneGroup
from server.gateway.zone_stream import ZoneStream

DISCONNECTED_AFTER_S = 5.0
EVENTS_PER_PAGE = 1_000
CLOSED_EPOCH = Epoch("closed")
"""The value of ``meta.epoch`` while a zone is being rebuilt."""
ESTIMATED_EVENT_BYTES = 700
"""The size of a small event in memory. It decides how far before the head the reading begins."""

logger = structlog.get_logger(__name__)


class Relay:
    """The relay of all zones of a gateway. It calls ``on_internal_event`` with each event that is for gateways. After
    any session has subscribed to a job or a map, it calls ``before_event`` with each other event before the hand-off.
    It calls ``on_resync`` with the reason when sessions must resynchronise, and ``on_new_epoch`` when an epoch began
    that continues the last one.
    """

    def __init__(
        self,
        engine: Engine,
        hubs: Sequence[Hub],
        counters: Counters,
        *,
        encode: Callable[[Event], bytes],
        on_internal_event: Callable[[Event], None],
        before_event: Sequence[Callable[[Event], None]],
        on_resync: Callable[[str], None],
        on_new_epoch: Callable[[], None],
    ) -> None:
        settings, zone_bytes = engine.settings, engine.settings.replay_buffer_bytes
        self.tails = {
            Zone(zone): ZoneStream(Zone(zone), ReplayBuffer(Zone(zone), zone_bytes, settings.memory_s))
            for zone in settings.zones
        }
        self.window_read = asyncio.Event()
        """Set when every zone's log was read into its replay buffer for the first time."""
        self.lag_s = 0.0
        """Seconds from the last event's commit (Redis's clock) to its hand-off (this process's clock)."""
        self._engine = engine
        self._hubs = hubs
        self._counters = counters
        self._encode = encode
        self._on_internal_event = on_internal_event
        self._before_event = before_event
        self._on_resync = on_resync
        self._on_new_epoch = on_new_epoch
        self._window_events = zone_bytes // ESTIMATED_EVENT_BYTES
        self._groups = [
            ZoneGroup({zone: self.tails[zone] for zone in zones}) for zones in engine.store.shards.groups(self.tails)
        ]
        self._epoch_unannounced = False
        """Whether an epoch that continues the last one began, and sessions do not know it yet."""

    @property
    def is_loaded(self) -> bool:
        """Return whether every zone's log was read into its replay buffer, so that clients can resume."""
        return self.window_read.is_set()

    @property
    def is_disconnected(self) -> bool:
        """Return whether Redis has not answered for ``DISCONNECTED_AFTER_S``: too long to serve clients."""
        last_reply_at = min(group.last_reply_at for group in self._groups)
        return not self.is_loaded or monotonic() - last_reply_at > DISCONNECTED_AFTER_S

    async def run(self) -> None:
        """Run forever. After each fault, continue at the cursor."""
        async with asyncio.TaskGroup() as tasks:
            for group in self._groups:
                tasks.create_task(self._tail_group(group))

    async def _tail_group(self, group: ZoneGroup) -> None:
        pause, first = 0.05, next(iter(group.tails))
        while not_cancelled():
            began = monotonic()
            try:
                async with contextlib.aclosing(await self._engine.store.open_stream_connection(first)) as client:
                    await self._read_logs(group, client)
            except (redis.RedisError, OSError, CalloutError) as error:
                logger.warning("relay_away", error=str(error) or type(error).__name__, retry_s=round(pause, 2))
            except Exception:  # the task's boundary: a relay that reports itself disconnected is better than a dead one
                logger.exception("relay_failed")
            pause = 0.05 if monotonic() - began > DISCONNECTED_AFTER_S else min(pause * 2, 1.0)
            await asyncio.sleep(pause)

    async def _read_logs(self, group: ZoneGroup, client: StreamConnection) -> None:
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            group.run_id = await log.read_run_id(client)
        group.unopened = set(group.tails)
        await self._check_histories(group, group.tails, client)
        group.last_reply_at = monotonic() if not group.is_loaded else group.last_reply_at
        group.is_loaded = True
        if all(each.is_loaded for each in self._groups):
            self.window_read.set()
        reader = StreamReader(self._engine.store, client)
        try:
            while not_cancelled():
                after = {zone: tail.cursor for zone, tail in group.tails.items() if not tail.is_closed}
                events = await reader.read_next(after)
                zones = group.zones_to_check(events)
                if not zones and len(events) >= MAX_READ_EVENTS:
                    await reader.request_next(events)
                # If Redis has another history now, these events may be from the old history: they are read again.
                if await self._check_histories(group, zones, client):
                    await self._route_all(group, events, client)
                group.last_reply_at = monotonic()
        finally:
            reader.stop()

    # handing on

    async def _route_all(self, group: ZoneGroup, events: list[Event], client: StreamConnection) -> None:
        """Hand ``events`` to the replay buffers and the hubs, in order. Yield to the event loop every 2 ms, so that
        sessions are written to meanwhile.
        """
        until = monotonic() + TIME_SLICE_S
        for event in events:
            tail = self.tails[event.zone]
            if event.seq != tail.cursor + 1:
                if event.seq > tail.cursor:
                    await self._reload_zone(tail, client, "trimmed")
                continue
            self._route(tail, event)
            if monotonic() > until:
                tail.wake_waiting()
                await asyncio.sleep(0)
                until = monotonic() + TIME_SLICE_S
        if events:
            self._counters.relayed_events += len(events)
            now = time()
            self.lag_s = max(0.0, now - events[-1].at / 1000)
            self._counters.relay_lag_s.add(max(0.0, now - events[0].at / 1000))
            for tail in group.tails.values():
                tail.wake_waiting()

    def _route(self, tail: ZoneStream, event: Event) -> None:
        """Hand one event to the replay buffer and the hubs. If that fails, all sessions resynchronise. The event is not
        read again, because some sessions have received it.
        """
        tail.buffer.add(event)
        tail.cursor = event.seq
        try:
            if event.type.startswith(INTERNAL_PREFIXES):
                self._on_internal_event(event)
            else:
                if any(hub.has_watchers for hub in self._hubs):
                    for notice in self._before_event:
                        notice(event)
                self.fan_out(event, tail.buffer.zone_channel)
        except Exception:  # the boundary of one event: the next ones are still to be handed on
            logger.exception("event_failed", zone=tail.zone, seq=event.seq, type=event.type)
            self._counters.resyncs_by_reason["failed"] += 1
            self._on_resync("failed")

    def fan_out(self, event: Event, zone_channel: str) -> None:
        """Deliver ``event`` to the sessions on its channels or on ``zone_channel``, its zone's. The payload is encoded
        once for all hubs, and only if there is a recipient. Recipients who are no members get a message without its
        text.
        """
        channels, payload = channels_in_hub(event), b""
        for hub in self._hubs:
            if hub.channels and (recipients := hub.recipients(event.type, channels, zone_channel)):
                if event.type == MESSAGE_TYPE:
                    recipients = deliver_without_text(event, hub, recipients, self._encode)
                payload = payload or self._encode(event)
                hub.deliver(recipients, payload)

    # checking that Redis has the history that was read

    async def _check_histories(self, group: ZoneGroup, zones: Collection[Zone], client: StreamConnection) -> bool:
        """Compare each zone's log in Redis with what the relay has read of it. Return True if every log is still the
        same and in the known epoch: then newly read events may be handed on. If epochs began that continue the last
        ones, call ``on_new_epoch`` once for all of them."""
        if len(zones) == len(group.tails):
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                await log.check_primary(client)
        try:
            same = [await self._check_history(group, self.tails[zone], client) for zone in zones]
        finally:
            if self._epoch_unannounced:
                self._epoch_unannounced = False
                self._on_new_epoch()
        if len(same) == len(group.tails):
            group.checked_at = monotonic()
        return all(same)

    async def _check_history(self, group: ZoneGroup, tail: ZoneStream, client: StreamConnection) -> bool:
        """Return whether the log in Redis is still the log that the relay has read, and in the known epoch."""
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            # Read before the head: once the zone is opened, no head is of an older epoch.
            if tail.zone in group.unopened and await log.read_opening_run_id(client, tail.zone) == group.run_id:
                group.unopened.discard(tail.zone)
            head = await log.read_head(client, tail.zone)
        if head.seq < tail.cursor:
            return await self._reload_zone(tail, client, "rollback")
        was_closed, tail.is_closed = tail.is_closed, self._is_zone_closed(tail, head)
        if tail.is_closed:
            if not was_closed:  # a gateway that runs no commands learns here why the zone is closed
                await self._engine.store.reopen(tail.zone, stale=self._engine.store.zones[tail.zone].epoch)
            return True
        if was_closed or tail.epoch == "":  # clients that joined meanwhile joined without this zone
            return await self._reload_zone(tail, client, "reopened")
        if head.epoch == tail.epoch:
            return True
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            epochs = await log.read_epochs(client, tail.zone)
        if not await self._continues_history(tail, client, head.epoch, epochs):
            return await self._reload_zone(tail, client, "epoch")
        if (believed := self._engine.store.zones[tail.zone].epoch) != head.epoch:  # perhaps in a newer format
            await self._engine.store.reopen(tail.zone, stale=believed)
        tail.epochs, tail.epoch, self._epoch_unannounced = epochs, head.epoch, True
        self._engine.store.note_head(tail.zone, tail.head)
        tail.wake_waiting(wake_all=True)
        return False

    def _is_zone_closed(self, tail: ZoneStream, head: Cursor) -> bool:
        """Return whether sessions cannot join the zone: Redis has no open epoch, or the zone was closed or not read
        yet, and its epoch was not compared with the archive.
        """
        if head.epoch in ("", CLOSED_EPOCH):
            return True
        zone = self._engine.store.zones[tail.zone]
        return (tail.is_closed or tail.epoch == "") and not (zone.open and zone.epoch == head.epoch)

    async def _continues_history(
        self, tail: ZoneStream, client: StreamConnection, epoch: Epoch, epochs: Mapping[Epoch, int]
    ) -> bool:
        """Return whether ``epoch`` continues the events that were handed on: it is newer than the known epoch, has the
        same past epochs, and repeats no seq.
        """
        if epoch_number(epoch) <= epoch_number(tail.epoch) or any(
            epochs.get(e) != first for e, first in tail.epochs.items()
        ):
            return False
        begun = [first for e, first in epochs.items() if e not in tail.epochs]
        return all([await self._can_resume_from(tail, client, first) for first in begun])

    async def _can_resume_from(self, tail: ZoneStream, client: StreamConnection, first_seq: int) -> bool:
        """Return whether the epoch that began at seq ``first_seq`` continues the events that were handed on.

        It does if ``first_seq`` is above the cursor. Otherwise it does if the replay buffer and the log have the same
        event at ``first_seq``: then the relay read the events of this epoch before it found the epoch, and not the
        events of another history."""
        if first_seq > tail.cursor:
            return True
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            page = await log.read_range(client, tail.zone, first_seq - 1, 1, first_seq)
        return bool(page) and page[0] == tail.buffer.event(first_seq)

    async def _reload_zone(self, tail: ZoneStream, client: StreamConnection, reason: str) -> bool:
        """Drop the zone's state, make the sessions resynchronise, and read the log into the replay buffer again. Return
        False, for ``_check_history``: the history has changed.
        """
        last = tail.head
        tail.buffer.clear()  # before the sessions are closed: none of them may join the old history
        tail.epoch, tail.is_closed = Epoch(""), False
        if self.is_loaded:
            logger.warning("resynchronise", zone=tail.zone, reason=reason, cursor=last.seq, epoch=last.epoch)
            self._counters.resyncs_by_reason[reason] += 1
            self._on_resync(reason)
            # The process that notices this makes the store compare the zone with the archive, which opens or closes it.
            self._engine.store.note_head(tail.zone, last)
            await self._engine.store.reopen(tail.zone, stale=self._engine.store.zones[tail.zone].epoch)
        async with asyncio.timeout(REPLY_TIMEOUT_S):
            head = await acknowledged_events.read_head(self._engine.store, client, tail.zone)
            epochs = await log.read_epochs(client, tail.zone)
        closed = self._is_zone_closed(tail, head)
        tail.cursor = head.seq if closed else max(0, head.seq - self._window_events)
        await self._read_window(tail, client, head.seq)
        tail.is_closed, tail.epochs, tail.epoch = closed, epochs, Epoch("") if closed else head.epoch
        tail.wake_waiting(wake_all=True)
        logger.info("relay_window", zone=tail.zone, epoch=tail.epoch, head=tail.cursor, first=tail.buffer.first_seq)
        return False

    async def _read_window(self, tail: ZoneStream, client: StreamConnection, head: int) -> None:
        """Read the log up to ``head`` into the replay buffer, as far as the buffer has room."""
        while tail.cursor < head:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                page = await log.read_range(client, tail.zone, tail.cursor, EVENTS_PER_PAGE, head)
            if not page:
                break
            for event in page:
                if event.seq != tail.cursor + 1:
                    tail.buffer.clear()
                tail.buffer.add(event)
                tail.cursor = event.seq
        tail.cursor = max(tail.cursor, head)
