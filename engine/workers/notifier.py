"""Notifications and pushes, read from the zones' logs.

For each job event the blueprint may declare notices to people. The runner derives them, and one script
appends them to the log as ``notification`` events *and* moves the runner's cursor, by compare-and-set on
where it began: a runner that dies has told nobody or everybody, and two runners cannot both. So the lease
below only spares work; nothing depends on it being exclusive.

Offers and notifications are then pushed (engine/workers/push_sender.py), after the cursor has moved and without
waiting: pushes on their way die with the process, what they told of does not."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import groupby
from typing import TYPE_CHECKING

import msgspec
import redis.asyncio as redis
import structlog

from engine.blueprint.schema import OFFER
from engine.errors import CalloutError, Indeterminate
from engine.events import Event, iso, ms_of
from engine.process.loops import not_cancelled
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Zone, new_id
from engine.workers.push_sender import Message, PushSender
from engine.zone import log as zone_log
from engine.zone.leases import Leases

if TYPE_CHECKING:
    from engine.runtime import Engine

COUNT = 100
"""Events a step: bounds the script that appends what they tell of."""
BLOCK_S = 1.0
PAUSE_S = 0.025
"""After a step that had caught up: joins the notices of a busy moment into one call, at the price of so much delay."""
GRACE_S = 2.0
"""A blocking read that takes so much longer than it may has lost its line."""
LEASE_S = 5.0
LEASE_EVERY_S = 1.0
RETRY_S = 1.0

UNMADE = (LookupError, TypeError, ValueError, AttributeError)
"""What is raised where a blueprint of the user's names what an event does not have, or was changed since and knows the
job's state no longer."""

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Derive and push for every zone of which this runner gets the lease, for ever. Faults of Redis are
    waited out.
    """
    async with AsyncExitStack() as stack:
        leases = Leases(engine.store, "push", LEASE_S)
        stack.push_async_callback(leases.give_back)
        runner = await _enter(engine, stack, leases)
        while not_cancelled():
            try:
                held = await runner.step(BLOCK_S)
            except (CalloutError, redis.RedisError, OSError) as error:  # TimeoutError is an OSError
                log.warning("push_waits", error=str(error) or type(error).__name__, retry_s=RETRY_S)
                runner.forget()
                held = False
            await asyncio.sleep(pause(held=held, full=runner.full))


def pause(*, held: bool, full: bool) -> float:
    """Seconds until the next step: none where there is more to tell at once."""
    if not held:
        return RETRY_S
    return 0.0 if full else PAUSE_S


async def run_once(engine: Engine) -> None:
    """Derive and push what the logs hold now, the notices of this very pass included, and wait until each
    push is sent or given up. Needs no lease: the cursor's compare-and-set suffices.
    """
    async with AsyncExitStack() as stack:
        runner = await _enter(engine, stack, None)
        while await runner.step(0.001) and runner.moved:
            pass
        if runner.poster:
            await runner.poster.drain()


async def _enter(engine: Engine, stack: AsyncExitStack, leases: Leases | None) -> _Runner:
    poster = None
    if engine.settings.push_url:
        poster = PushSender(engine.settings.push_url, engine.settings.push_secret, engine.metrics)
        await stack.enter_async_context(poster)
    reader = engine.store.reader()
    stack.push_async_callback(reader.aclose)
    return _Runner(engine, reader, poster, leases)


class _Runner:
    """One process's share of the work: the zones it holds, and how far it is in each."""

    def __init__(self, engine: Engine, reader: redis.Redis, poster: PushSender | None, leases: Leases | None) -> None:
        self.poster = poster
        self.moved = self.full = False
        """Whether the last step found something, and whether a zone may have more at once."""
        self._engine = engine
        self._reader = reader
        self._leases = leases
        self._cursors: dict[Zone, int] = {}
        self._unsure: dict[Zone, list[Event]] = {}
        """What was to be told when the answer was lost: pushed once the cursor shows that it was."""
        self._looked_at = float("-inf")

    async def step(self, block_s: float) -> bool:
        """Read once from all zones held and tell what comes. False where no zone is held; see ``moved``, ``full``."""
        self.moved = self.full = False
        await self._resolve()
        await self._look()
        if not self._cursors:
            return False
        async with asyncio.timeout(block_s + GRACE_S):
            found = await zone_log.tail(self._reader, self._cursors, round(block_s * 1000), COUNT)
        for zone, events in groupby(found, lambda event: event.zone):
            here = list(events)
            await self._tell(zone, here)
            self.full = self.full or len(here) >= COUNT
        self.moved = bool(found)
        return True

    def forget(self) -> None:
        """Hold nothing, know nothing: the next step asks Redis again."""
        self.full = False
        self._cursors.clear()
        self._looked_at = float("-inf")
        if self._leases:
            self._leases.forget()

    async def _look(self) -> None:
        """See which zones are held, and where their cursors are."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < LEASE_EVERY_S:
            return
        self._looked_at = now
        for zone, state in self._engine.store.zones.items():
            if state.open and (self._leases is None or await self._leases.held(zone)):
                # Read again each time, ours or not: an older Redis may have come back with an older cursor.
                self._cursors[zone] = await self._read_cursor(zone)
            else:
                self._cursors.pop(zone, None)

    async def _resolve(self) -> None:
        """Push what was told although its answer was lost. Where the cursor has not moved, the log is read again. If
        another runner told the same meanwhile it is pushed twice, which a receiver sees by zone and seq.
        """
        for zone, events in list(self._unsure.items()):
            if await self._read_cursor(zone) >= events[-1].seq:
                self._push(events)
            del self._unsure[zone]

    async def _read_cursor(self, zone: Zone) -> int:
        return int(await self._engine.store.reads.get(keys.push_cursor(zone)) or 0)

    async def _tell(self, zone: Zone, events: list[Event]) -> None:
        begin, end = self._cursors[zone], events[-1].seq
        if events[0].seq != begin + 1:
            log.error("push_gap", zone=zone, after=begin, next=events[0].seq)
        try:
            moved = await self._append(zone, begin, end, [part for event in events for part in self._notices(event)])
        except Indeterminate:
            self._unsure[zone] = events
            raise
        if not moved:
            self._cursors[zone] = await self._read_cursor(zone)
            return
        self._cursors[zone] = end
        self._push(events)

    def _push(self, events: list[Event]) -> None:
        if self.poster:
            for message in (message for event in events for message in messages(event, self._invitation(event))):
                self.poster.put(message)

    def _invitation(self, event: Event) -> dict[str, str] | None:
        """The words for who is offered a job. An offer whose words cannot be made goes out without them."""
        try:
            said = self._engine.blueprints.invitation(event.bp, event.data) if event.type == OFFER else None
        except UNMADE as error:
            log.error("notice_not_made", zone=event.zone, seq=event.seq, type=event.type, error=repr(error))
            return None
        return {"title": said[0], "body": said[1]} if said else None

    async def _append(self, zone: Zone, begin: int, end: int, told: list[str | bytes]) -> bool:
        """Whether it was we who told. Where the answer is lost, the next lease reads what became of it."""
        names = {"meta": keys.meta(zone), "log": keys.log(zone), "cursor": keys.push_cursor(zone)}
        args: Args = {"from_seq": begin, "to_seq": end, "n": len(told) // 3, "notifications": told}
        done = await self._engine.store.run(zone, "notification_append", keys=names, args=args)
        return done.rest[0] == b"1"

    def _notices(self, event: Event) -> list[str | bytes]:
        told: list[str | bytes] = []
        try:
            notices = self._engine.blueprints.notices(event.bp, event.type, event.data)
        except UNMADE as error:
            # One notice that cannot be made must not stop all that come after it.
            log.error("notice_not_made", zone=event.zone, seq=event.seq, type=event.type, error=repr(error))
            return []
        for notice in notices:
            data = {"id": new_id("ntf"), "kind": notice.kind, "title": notice.title, "body": notice.body}
            told += [notice.user, msgspec.json.encode(data | {"job": notice.job}), event.bp]
        return told


class _Offer(msgspec.Struct):
    expires_at: str | None = None


class _Offered(msgspec.Struct):
    offer: msgspec.Raw


def messages(event: Event, notice: dict[str, str] | None = None) -> list[Message]:
    """What is pushed of an event: one message for each user whom an offer or a notification is for. ``notice`` holds
    the words that the blueprint has for an offer.
    """
    if event.type == OFFER:
        told = msgspec.json.decode(event.data, type=_Offered).offer
        until = msgspec.json.decode(told, type=_Offer).expires_at
        deadline = ms_of(until) if until else 0
        named = {"offer": told, **({"notice": msgspec.Raw(msgspec.json.encode(notice))} if notice else {})}
        return [Message("offer", _body(event, user, named), deadline) for user in _users(event)]
    if event.type == "notification":
        named = {"notification": msgspec.Raw(event.data)}
        return [Message("notification", _body(event, user, named)) for user in _users(event)]
    return []


def _users(event: Event) -> list[str]:
    return [channel.removeprefix("user:") for channel in event.to if channel.startswith("user:")]


def _body(event: Event, user: str, named: dict[str, msgspec.Raw]) -> bytes:
    """``zone`` and ``seq`` together name the event for ever: a receiver can drop what it has had."""
    where = {"type": event.type, "zone": event.zone, "seq": event.seq, "at": iso(event.at), "user": user}
    return msgspec.json.encode(where | named)
