"""The notifier derives notifications and pushes from the zones' logs.

For each job event the blueprint may declare notices to people. The notifier derives them, and one script appends them
to the log as ``notification`` events *and* moves the notifier's cursor, by compare-and-set on the cursor's old value. A
notifier that dies has appended all notices of a batch or none, and two notifiers cannot both append them. So the lease
below only saves work; nothing depends on it being exclusive. In the same step, each room in which a message was said
gets the scheduled task that notifies its absent members (engine/domain/chat_notifications.py).

Then offers and notifications are pushed (engine/workers/push_devices.py), after the cursor has moved and without
waiting. Pushes that are still queued are lost with the process; the offers and notifications themselves are not."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import groupby
from typing import TYPE_CHECKING

import structlog

from engine.blueprint.schema import OFFER_EVENT
from engine.errors import CalloutError, Indeterminate
from engine.events import Event
from engine.process.loops import not_cancelled
from engine.store import keys
from engine.store.acknowledgement import without_acknowledgement
from engine.store.error_replies import ErrorReply
from engine.store.scripts import Args
from engine.store.stream_connection import StreamConnection
from engine.types import Zone
from engine.workers.notices import NOTICE_ERRORS, notices_of_event
from engine.workers.push_devices import PushQueue
from engine.workers.push_messages import push_messages, rooms_of_messages
from engine.workers.push_sender import PushSender
from engine.workers.web_push_sender import WebPushSender
from engine.zone.acknowledged_events import wait_for_events
from engine.zone.leases import Leases

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_BATCH_EVENTS = 100
"""The most events in one batch. The limit bounds the run time of the script that appends their notices."""
READ_BLOCK_S = 1.0
BATCH_PAUSE_S = 0.025
"""The pause after a batch that contained all waiting events. Notices are delayed by up to this time, and the notices of
a busy moment share one call of the script.
"""
READ_MARGIN_S = 2.0
"""A blocking read that takes this much longer than its block time has lost its connection."""
LEASE_S = 5.0
LEASE_CHECK_INTERVAL_S = 1.0
RETRY_S = 1.0


log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Derive notifications and push, for every zone whose lease is held, until cancelled. Retry if Redis fails."""
    leases = Leases(engine.store, "push", LEASE_S)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(leases.release_all)
        runners = await _open_runners(engine, stack, leases)
        async with asyncio.TaskGroup() as group:
            for runner in runners:
                group.create_task(_run_forever(runner))


async def _run_forever(runner: _NotifierRunner) -> None:
    while not_cancelled():
        try:
            held = await runner.process_batch(READ_BLOCK_S)
        except (CalloutError, ErrorReply, OSError) as error:  # TimeoutError is an OSError
            log.warning("push_waits", error=str(error) or type(error).__name__, retry_s=RETRY_S)
            runner.drop_cache()
            await runner.disconnect()
            held = False
        await asyncio.sleep(next_pause_s(held=held, full=runner.full))


def next_pause_s(*, held: bool, full: bool) -> float:
    """Return the seconds until the next read. ``held``: a zone's lease is held. ``full``: more events are waiting."""
    return 0.0 if held and full else BATCH_PAUSE_S if held else RETRY_S


async def run_once(engine: Engine) -> None:
    """Derive notifications and send pushes for all events that the logs contain now, also for the notices that this run
    appends, and wait until each push is sent or given up. No lease is needed: the cursor moves by compare-and-set.
    """
    async with AsyncExitStack() as stack:
        for runner in await _open_runners(engine, stack, None):
            while await runner.process_batch(0.001) and runner.moved:
                pass
            if runner.pushes:
                await runner.pushes.wait_until_sent()


async def _open_runners(engine: Engine, stack: AsyncExitStack, leases: Leases | None) -> list[_NotifierRunner]:
    """Return a runner for each group of zones whose logs can be read by one command, with one push sender. ``stack``
    closes them."""
    stack.enter_context(without_acknowledgement())
    pushes = await _open_pushes(engine, stack)
    runners = []
    for zones in engine.store.shards.groups(engine.settings.zones):
        runners.append(_NotifierRunner(engine, zones, pushes, leases))
        stack.push_async_callback(runners[-1].disconnect)
    return runners


async def _open_pushes(engine: Engine, stack: AsyncExitStack) -> PushQueue | None:
    """Return the queue of pushes; None if the settings name neither a receiver of pushes nor a contact of Web Push."""
    settings, sender, browsers = engine.settings, None, None
    if settings.push_url:
        sender = await stack.enter_async_context(PushSender(settings.push_url, settings.push_secret, engine.metrics))
    if settings.web_push_contact:
        browsers = await stack.enter_async_context(WebPushSender(engine, settings.web_push_contact))
    if not sender and not browsers:
        return None
    return await stack.enter_async_context(PushQueue(engine, sender, browsers))


class _NotifierRunner:
    """A notifier: the zones for which this process works, and its cursor in each zone's log."""

    def __init__(self, engine: Engine, zones: list[Zone], pushes: PushQueue | None, leases: Leases | None) -> None:
        self.pushes = pushes
        self.moved = self.full = False
        """``moved``: the last read found events. ``full``: a zone may have more events now."""
        self._engine = engine
        self._zones = zones
        self._connection: StreamConnection | None = None
        self._leases = leases
        self._cursors: dict[Zone, int] = {}
        self._unsure: dict[Zone, list[Event]] = {}
        """Events whose append got no reply. They are pushed when the cursor shows that the append was done."""
        self._checked_at = float("-inf")

    async def process_batch(self, block_s: float) -> bool:
        """Read once from the logs of the zones whose lease this process holds, append notifications, and queue pushes.
        Return False if there is no such zone.
        """
        self.moved = self.full = False
        await self._push_after_lost_reply()
        await self._check_leases()
        if not self._cursors:
            return False
        async with asyncio.timeout(block_s + READ_MARGIN_S):
            store, block_ms = self._engine.store, round(block_s * 1000)
            reader = self._connection = self._connection or await store.open_stream_connection(self._zones[0])
            found = await wait_for_events(store, reader, self._cursors, block_ms, MAX_BATCH_EVENTS)
        for zone, events in groupby(found, lambda event: event.zone):
            here = list(events)
            await self._notify_users(zone, here)
            self.full = self.full or len(here) >= MAX_BATCH_EVENTS
        self.moved = bool(found)
        return True

    async def disconnect(self) -> None:
        """Close the connection that reads the logs."""
        if self._connection:
            await self._connection.aclose()
        self._connection = None

    def drop_cache(self) -> None:
        """Drop all cached leases and cursors, so that the next read loads them from Redis."""
        self.full = False
        self._cursors.clear()
        self._checked_at = float("-inf")
        if self._leases:
            self._leases.drop_cache()

    async def _check_leases(self) -> None:
        """Update the zones with a lease and their cursors, once every ``LEASE_CHECK_INTERVAL_S``."""
        now = asyncio.get_running_loop().time()
        if now - self._checked_at < LEASE_CHECK_INTERVAL_S:
            return
        self._checked_at = now
        for zone in self._zones:
            state = self._engine.store.zones[zone]
            if state.open and (self._leases is None or await self._leases.holds_lease(zone)):
                # Read the cursor each time, even of a held zone: a restored Redis may have an older one.
                self._cursors[zone] = await self._read_cursor(zone)
            else:
                self._cursors.pop(zone, None)

    async def _push_after_lost_reply(self) -> None:
        """Push the events of an append whose reply was lost, if the cursor shows that the append was done. Otherwise
        the same events are read from the log again. If another notifier appended their notices meanwhile, the events
        are pushed twice; a receiver can recognize this by zone and seq."""
        for zone, events in list(self._unsure.items()):
            if await self._read_cursor(zone) >= events[-1].seq:
                self._queue_pushes(events)
            del self._unsure[zone]

    async def _read_cursor(self, zone: Zone) -> int:
        return int(await self._engine.store.read_connection.get(keys.push_cursor(zone)) or 0)

    async def _notify_users(self, zone: Zone, events: list[Event]) -> None:
        """Append the notices of these events and move the cursor. If this process has moved it, queue the pushes."""
        begin, end = self._cursors[zone], events[-1].seq
        if events[0].seq != begin + 1:
            log.error("push_gap", zone=zone, after=begin, next=events[0].seq)
        try:
            notices = [part for event in events for part in notices_of_event(self._engine, event)]
            moved = await self._append_notices(zone, begin, end, notices, rooms_of_messages(events))
        except Indeterminate:
            self._unsure[zone] = events
            raise
        if not moved:
            self._cursors[zone] = await self._read_cursor(zone)
            return
        self._cursors[zone] = end
        self._queue_pushes(events)

    def _queue_pushes(self, events: list[Event]) -> None:
        if self.pushes:
            for event in events:
                self.pushes.queue_messages(push_messages(event, self._offer_notice(event)))

    def _offer_notice(self, event: Event) -> dict[str, str] | None:
        """Return the notice for a technician who gets this offer; None if there is none or it cannot be made."""
        try:
            blueprints, key = self._engine.blueprints, event.blueprint_key
            notice = blueprints.offer_notice(key, event.data) if event.type == OFFER_EVENT else None
        except NOTICE_ERRORS as error:
            log.error("notice_not_made", zone=event.zone, seq=event.seq, type=event.type, error=repr(error))
            return None
        return {"title": notice[0], "body": notice[1]} if notice else None

    async def _append_notices(
        self, zone: Zone, begin: int, end: int, notices: list[str | bytes], rooms: list[str]
    ) -> bool:
        """Append the notices, and schedule the notifications of ``rooms``. Return False if another notifier has already
        appended them. Raises Indeterminate if the reply was lost.
        """
        names = {
            "meta": keys.zone_meta(zone),
            "log": keys.log(zone),
            "cursor": keys.push_cursor(zone),
            "due": keys.due_tasks(zone),
        }
        args: Args = {
            "from_seq": begin,
            "to_seq": end,
            "count": len(notices) // 3,
            "notifications": [*notices, *rooms],
        }
        done = await self._engine.store.run(zone, "notification_append", keys=names, args=args)
        return done.values[0] == b"1"
