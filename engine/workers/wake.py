"""Wake the scheduler before its next check, by tailing the zones' logs.

An event that makes a task due at once (a booking, a job offered again, a technician who comes online) is in the log in
the same step, for every process that may cause it. So tailing the log is enough, and no second channel is needed.
Events that the scheduler's own work appends, and events that make no task due, do not wake the scheduler. Tasks that
become due without a wake-up (during a lost connection, or because a position changed) are found by the check of each
zone once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from engine.errors import CalloutError
from engine.process.loops import not_cancelled
from engine.store import keys
from engine.store.error_replies import ErrorReply
from engine.store.stream_connection import StreamConnection
from engine.types import Zone
from engine.zone import log as zone_log

if TYPE_CHECKING:
    from engine.runtime import Engine

READ_BLOCK_MS = 1_000
MAX_EVENTS_PER_READ = 500
PAUSE_AFTER_EVENTS_S = 0.002
"""The pause after a read with events: at thousands of events a second each read then returns several."""
RETRY_S = 1.0

QUIET_JOB_EVENTS = frozenset(
    {b"job.searching", b"job.unfilled", b"job.late", b"job.stalled", b"job.dark", b"job.expired", b"job.accepted"}
)
"""The job events that make no task due at once. All other job events make a task due at once."""
OFFERS_CLOSING = b'"offers_closing":true'
"""A part of the data of a job event. It means: a task that is due now closes the offers of the other technicians."""
OTHER_DUE_EVENTS = frozenset({b"technician.status", b"offer.declined"})
"""The other events that make a task due at once: a technician may be matched, or the next wave may start early."""

log = structlog.get_logger(__name__)


async def wake_schedulers(engine: Engine, zones: Collection[Zone], wakes: Mapping[Zone, asyncio.Event]) -> None:
    """Set the event ``wakes[zone]`` of each zone in ``zones`` when a task of the zone may have become due, until
    cancelled.
    """
    async with asyncio.TaskGroup() as group:
        for readable_together in engine.store.shards.groups(wakes):
            group.create_task(_wake_group(engine, readable_together, zones, wakes))


async def _wake_group(
    engine: Engine, group: Sequence[Zone], zones: Collection[Zone], wakes: Mapping[Zone, asyncio.Event]
) -> None:
    """Do the work of ``wake_schedulers`` for the zones of ``group``, whose logs can be read by one command."""
    while not_cancelled():
        try:
            connection = await engine.store.open_stream_connection(group[0])
            try:
                await _watch_logs(connection, group, zones, wakes)
            finally:
                await connection.aclose()
        except (CalloutError, ErrorReply, OSError) as error:
            log.debug("wake_waits", error=str(error), retry_s=RETRY_S)
        await asyncio.sleep(RETRY_S)


async def _watch_logs(
    connection: StreamConnection, group: Sequence[Zone], zones: Collection[Zone], wakes: Mapping[Zone, asyncio.Event]
) -> None:
    """Tail the logs of the group on one connection, until cancelled or until the connection is lost."""
    after: dict[Zone, int] = {}
    while not_cancelled():
        after = {
            zone: after[zone] if zone in after else await _read_head(connection, zone)
            for zone in group
            if zone in zones
        }
        if not after:
            await asyncio.sleep(RETRY_S / 4)
            continue
        names = {keys.log(zone).encode(): zone for zone in after}
        found = await connection.xread(
            {keys.log(zone): f"{seq}-0" for zone, seq in after.items()}, MAX_EVENTS_PER_READ, READ_BLOCK_MS
        )
        for name, entries in found or ():
            zone = names[name]
            after[zone] = int(entries[-1][0].partition(b"-")[0])
            if any(_event_makes_task_due(fields) for _, fields in entries):
                wakes[zone].set()
        if found:
            await asyncio.sleep(PAUSE_AFTER_EVENTS_S)
        else:  # in a new epoch the log may end below this position, and no entry would ever follow it
            after = {zone: min(seq, await _read_head(connection, zone)) for zone, seq in after.items()}


async def _read_head(connection: StreamConnection, zone: Zone) -> int:
    """Return the last seq of the zone's log."""
    return (await zone_log.read_head(connection, zone)).seq


def _event_makes_task_due(fields: Sequence[bytes]) -> bool:
    """Return whether the event of a log entry with these ``fields`` (name, value, …) may have made a task due now."""
    event_type = fields[1]
    if event_type not in QUIET_JOB_EVENTS:
        return event_type in OTHER_DUE_EVENTS or event_type.startswith(b"job.")
    return any(OFFERS_CLOSING in value for value in fields)
