"""Fixes on their way to Redis. All fixes that arrive in one turn of the event loop, from any session or request, share
calls of ``technician_locate``: a call for each fix would cost Redis and this process several times as much.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from engine.clock import now_ms
from engine.errors import CalloutError, Internal, NotFound, Unavailable
from engine.rules.fixes import Fix, FixReply, api_offset_s
from engine.rules.travel import remaining_model
from engine.rules.zone_areas import ZoneArea, timezone_of
from engine.store import keys
from engine.store.connection import Store
from engine.store.scripts import Args, Value
from engine.store.technician_zones import TechnicianZones
from engine.types import TechnicianId, Zone

MAX_FIXES_PER_CALL = 64
"""The most fixes in one call: about a millisecond of Redis."""
MAX_CALLS_IN_FLIGHT = 2
"""The most calls of one zone in flight. Redis answers all calls that it has read in one turn, so more of them would
delay the commands of all others; while they are in flight, the next call fills up.
"""
MAX_WAITING = 20_000
"""The most fixes of one zone that may wait. Further fixes fail as ``unavailable`` at once."""

FixOutcome = FixReply | CalloutError
FixDone = Callable[[FixOutcome], None]
"""The function that gets the outcome of a fix, in a later turn of the event loop. Must not raise."""

_NO_PROBLEM = FixReply(online=True, clock_offset_s=0.0)

log = structlog.get_logger(__name__)


class _WaitingFix(NamedTuple):
    """The arguments of one fix for the script. ``done`` is None for a fix that is followed by another of its sender."""

    args: tuple[Value, ...]
    done: FixDone | None


class FixBatches:
    """The fixes of one process that wait for their call, by zone."""

    def __init__(self, store: Store, zones: TechnicianZones, areas: Sequence[ZoneArea]) -> None:
        self._store = store
        self._zones = zones
        self._areas = areas
        self._queues: dict[Zone, _ZoneQueue] = {}
        self._searches: set[asyncio.Task[None]] = set()

    def add(self, technician: TechnicianId, fixes: Sequence[Fix], done: FixDone, *, live: bool) -> None:
        """Send fixes of a technician with the next calls, and call ``done`` with the outcome of the last. They are
        sorted by time, the oldest first. ``live`` is true for one fix that was sent when it was measured.

        The outcome is an error if the technician is unknown (NotFound) or the call failed (Unavailable, Indeterminate,
        Internal). The caller has checked that the geo indexes accept the coordinates.
        """
        if len(self._store.zones) == 1:
            return self._queue(next(iter(self._store.zones))).add(technician, fixes, done, live=live)

        def search() -> None:
            task = asyncio.create_task(self._search(technician, fixes, done, live=live))
            self._searches.add(task)
            task.add_done_callback(self._searches.discard)

        def finish(outcome: FixOutcome) -> None:
            if isinstance(outcome, NotFound):  # the technicians have changed the zone
                search()
            else:
                done(outcome)

        zone = self._zones.recall(technician)
        if zone is None:
            search()
        else:
            self._queue(zone).add(technician, fixes, finish, live=live)

    async def _search(self, technician: TechnicianId, fixes: Sequence[Fix], done: FixDone, *, live: bool) -> None:
        try:
            zone = await self._zones.search(technician)
        except CalloutError as error:
            done(error)
        else:
            self._queue(zone).add(technician, fixes, done, live=live)

    def _queue(self, zone: Zone) -> _ZoneQueue:
        queue = self._queues.get(zone)
        if queue is None:
            queue = self._queues[zone] = _ZoneQueue(self._store, zone, timezone_of(self._areas, zone))
        return queue


class _ZoneQueue:
    """The fixes of one zone that wait, and the calls that are in flight."""

    def __init__(self, store: Store, zone: Zone, timezone: str) -> None:
        self._store = store
        self._zone = zone
        self._timezone = timezone
        self._keys = {"meta": keys.zone_meta(zone), "seen": keys.last_seen(zone), "log": keys.log(zone)}
        self._waiting: deque[_WaitingFix] = deque()
        self._calls: set[asyncio.Task[None]] = set()
        self._is_scheduled = False

    def add(self, technician: TechnicianId, fixes: Sequence[Fix], done: FixDone, *, live: bool) -> None:
        """Queue the fixes, and send what waits at the end of this turn of the event loop."""
        if len(self._waiting) + len(fixes) > MAX_WAITING:
            asyncio.get_running_loop().call_soon(done, Unavailable("too many fixes are waiting for Redis"))
            return
        last = len(fixes) - 1
        for index, fix in enumerate(fixes):
            kind = "more" if index < last else "live" if live else "late"
            self._waiting.append(_WaitingFix(_script_arguments(technician, fix, kind), None if index < last else done))
        if not self._is_scheduled and len(self._calls) < MAX_CALLS_IN_FLIGHT:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._send_waiting)

    def _send_waiting(self) -> None:
        self._is_scheduled = False
        while self._waiting and len(self._calls) < MAX_CALLS_IN_FLIGHT:
            size = min(len(self._waiting), MAX_FIXES_PER_CALL)
            batch = [self._waiting.popleft() for _ in range(size)]
            call = asyncio.create_task(self._call(batch))
            self._calls.add(call)
            call.add_done_callback(self._finish_call)

    def _finish_call(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        if self._waiting and not self._is_scheduled:
            self._send_waiting()

    async def _call(self, batch: list[_WaitingFix]) -> None:
        model = remaining_model(self._zone, now_ms(), self._timezone)
        pace = f"{model.seconds_per_km} {model.exponent}"
        args: Args = {"pace": pace, "fixes": [value for fix in batch for value in fix.args]}
        outcomes: Sequence[FixOutcome]
        try:
            reply = await self._store.run(self._zone, "technician_locate", keys=self._keys, args=args)
            outcomes = [self._parse_outcome(text) for text in reply.values]
        except CalloutError as error:
            outcomes = [error] * len(batch)
        except Exception:  # an error of any type ends here, because no caller may wait forever
            log.exception("fixes_failed", zone=self._zone)
            outcomes = [Internal()] * len(batch)
        for fix, outcome in zip(batch, outcomes, strict=True):
            if fix.done is not None:
                fix.done(outcome)

    def _parse_outcome(self, text: bytes) -> FixOutcome:
        """Return the outcome of one fix from its text (lua/technician_locate.lua)."""
        if text in {b"1 - - -", b"1 0 - -"}:
            return _NO_PROBLEM
        online, _, rest = text.partition(b" ")
        if online == b"NOT_FOUND":
            return NotFound()
        error = rest.decode(errors="replace")
        if online != b"FAILED":
            try:
                return FixReply(online == b"1", api_offset_s(rest))
            except ValueError:
                error = f"no clock: {error}"
        log.error("fix_failed", zone=self._zone, error=self._store.scripts.locate(error))
        return Internal()


def _script_arguments(technician: TechnicianId, fix: Fix, kind: str) -> tuple[Value, ...]:
    return (
        technician,
        fix.lat,
        fix.lon,
        _number_or_empty(fix.measured_at),
        kind,
        _number_or_empty(fix.accuracy_m),
        _number_or_empty(fix.degrees),
        _number_or_empty(fix.speed_m_s),
    )


def _number_or_empty(number: float | None) -> Value:
    return "" if number is None else number
