"""Archive the end of a zone's log that only Redis has, before the zone is rebuilt from SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from engine.archive import reader
from engine.archive.apply import LogMismatch
from engine.archive.quarantine import EventWriter
from engine.types import Epoch, Zone, epoch_number
from engine.zone import log as zone_log

if TYPE_CHECKING:
    from engine.runtime import Engine

EVENTS_PER_PAGE = 250

log = structlog.get_logger(__name__)


async def archive_tail(engine: Engine, zone: Zone) -> int:
    """Archive what the log of a closed zone has after the archive's head, if it continues the archive. Return the
    number of events. Raises Unavailable, Indeterminate, Superseded.
    """
    client, archived = engine.store.read_connection, 0
    epochs = await zone_log.read_epochs(client, zone)
    while True:
        before = await reader.checkpoint(engine.archive, zone)
        seq = before.seq if before else 0
        events = await zone_log.read_range(client, zone, seq, EVENTS_PER_PAGE, with_state=True)
        if not events:
            return archived
        if events[0].seq != seq + 1:
            log.error("tail_not_archived", zone=zone, archived=seq, first=events[0].seq)
            return archived
        writer = EventWriter(engine.archive, zone, epochs, lambda name: engine.metrics.refused.labels(name).inc())
        try:
            await writer.write_events(events, before, lambda at: _epoch_of(at, epochs))
        except LogMismatch as error:
            log.error("tail_not_archived", zone=zone, archived=seq, error=str(error))
            return archived
        archived += len(events)


def _epoch_of(seq: int, epochs: dict[Epoch, int]) -> Epoch:
    return max((epoch for epoch, first in epochs.items() if first <= seq), key=epoch_number)
