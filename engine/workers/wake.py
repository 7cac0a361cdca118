"""What wakes the scheduler before its next look: the zone's log.

An event that made something due now (a booking, a job offered anew, somebody who came online) stands in the log in the
same step, whichever process caused it. Reading the tail costs a look of the log and no channel beside it. Events that
the scheduler's own work appends, and those that make nothing due, wake nobody. What is missed here (a lost connection,
a position that moved) is found by the look that each zone is given once a second anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import structlog

from engine.errors import CalloutError
from engine.process.loops import not_cancelled
from engine.store import keys
from engine.store.pipeline import ErrorReply
from engine.store.stream_connection import StreamConnection
from engine.types import Zone
from engine.zone import log as zone_log

if TYPE_CHECKING:
    from engine.runtime import Engine

BLOCK_MS = 1_000
COUNT = 500
GATHER_S = 0.002
"""After a read that found something: at thousands of events a second each read then brings several."""
RETRY_S = 1.0

OURS = frozenset(
    {b"job.searching", b"job.unfilled", b"job.late", b"job.stalled", b"job.dark", b"job.expired", b"job.accepted"}
)
"""Events of jobs that make nothing due at once."""
OTHERS = frozenset({b"technician.status", b"offer.declined"})
"""Events of other things that do: somebody may be matched, a wave may be hastened."""

log = structlog.get_logger(__name__)


async def run(engine: Engine, held: Collection[Zone], wakes: Mapping[Zone, asyncio.Event]) -> None:
    """Set the wake of each zone that is ``held`` when something may have become due in it, for ever."""
    while not_cancelled():
        try:
            line = await engine.store.open_stream_connection()
            try:
                await _listen(line, held, wakes)
            finally:
                await line.aclose()
        except (CalloutError, ErrorReply, OSError) as error:
            log.debug("wake_waits", error=str(error), retry_s=RETRY_S)
        await asyncio.sleep(RETRY_S)


async def _listen(line: StreamConnection, held: Collection[Zone], wakes: Mapping[Zone, asyncio.Event]) -> None:
    after: dict[Zone, int] = {}
    while not_cancelled():
        after = {zone: after[zone] if zone in after else await _head(line, zone) for zone in list(held)}
        if not after:
            await asyncio.sleep(RETRY_S / 4)
            continue
        names = {keys.log(zone).encode(): zone for zone in after}
        found = await line.xread({keys.log(zone): f"{seq}-0" for zone, seq in after.items()}, COUNT, BLOCK_MS)
        for name, entries in found or ():
            zone = names[name]
            after[zone] = int(entries[-1][0].partition(b"-")[0])
            if any(_makes_due(fields[1]) for _, fields in entries):
                wakes[zone].set()
        if found:
            await asyncio.sleep(GATHER_S)
        else:  # another life of the log may end below where we read: nothing would come any more
            after = {zone: min(seq, await _head(line, zone)) for zone, seq in after.items()}


async def _head(line: StreamConnection, zone: Zone) -> int:
    return (await zone_log.head(line, zone)).seq


def _makes_due(kind: bytes) -> bool:
    """Whether an event of this type can have made something due now; ``fields`` begin with the type."""
    return kind in OTHERS or (kind.startswith(b"job.") and kind not in OURS)
